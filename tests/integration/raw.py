"""Requests as bytes, for what a client library would tidy up."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

Headers = Mapping[str, str] | Mapping[str, bytes]


@dataclass(frozen=True)
class Answer:
    """`headers` by lower-case name; of several with one name the last."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error_code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])


def ask(url: str, method: str, target: str, headers: Headers | None = None, body: bytes = b"") -> Answer:
    """One request with the target as it stands; a Content-Length is sent where there is a body."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    try:
        names_host = any(name.lower() == "host" for name in headers or {})
        connection.putrequest(method, target, skip_host=names_host, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 80), timeout=20)


def read_head(connection: socket.socket) -> bytes:
    """The next head, without the empty line after it; what follows stays unread."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise EOFError(f"the server closed the connection after {head!r}")
        head += byte
    return head[:-4]
