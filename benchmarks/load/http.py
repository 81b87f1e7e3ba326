"""A client of HTTP/1.1 over one kept connection that spends next to nothing itself.

It knows as much of HTTP as the two registries send: answers with a Content-Length or without a body.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from benchmarks.load.content import Layer

_PATIENCE = 300
_RECEIVE = 1024 * 1024
_CHUNK = 32 * 1024  # what dockerd sends in one chunk
_CHUNKS_A_CALL = 16


class LoadError(Exception):
    """The load did not do what it should, so there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def location(self) -> str:
        """Path and query of the Location header, be it absolute or relative."""
        url = urlsplit(self.headers["location"])
        return f"{url.path}?{url.query}" if url.query else url.path


class Connection:
    """A blocking connection to a port of 127.0.0.1. Errors of the socket are raised as they are."""

    def __init__(self, port: int) -> None:
        self._host = f"127.0.0.1:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own timeouts: those of Python would cost a poll before every call.
        patience = struct.pack("ll", _PATIENCE, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self._buffer = bytearray(_RECEIVE)
        self.body_sent_at = 0.0
        """When the kernel had taken the last byte of a layer (monotonic seconds)."""

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Send a request whose body is in memory, and read the whole answer."""
        self._socket.sendall(self._head(method, target, {**(headers or {}), "Content-Length": str(len(body))}) + body)
        return self._answer(method)

    def send_layer(self, method: str, target: str, layer: Layer, *, chunked: bool) -> Answer:
        """Send a layer as the body: with its length, or in chunks as dockerd does."""
        headers = {"Content-Type": "application/octet-stream"}
        if chunked:
            self._socket.sendall(self._head(method, target, {**headers, "Transfer-Encoding": "chunked"}))
            self._send_chunks(layer)
        else:
            self._socket.sendall(self._head(method, target, {**headers, "Content-Length": str(layer.size)}))
            self._send_file(layer)
        self.body_sent_at = time.monotonic()
        return self._answer(method)

    def discard(self, target: str) -> int:
        """GET a blob and throw its bytes away within the kernel; returns how many came."""
        self._socket.sendall(self._head("GET", target, {}))
        answer, begun = self._receive_head()
        if answer.status != 200:
            raise LoadError(f"GET {target} was answered with {answer.status}")
        received, length = len(begun), int(answer.headers["content-length"])
        while received < length:
            # MSG_TRUNC on TCP drops the bytes instead of copying them (tcp(7))
            count = self._socket.recv_into(self._buffer, min(_RECEIVE, length - received), socket.MSG_TRUNC)
            if count == 0:
                raise LoadError(f"GET {target} was cut after {received} of {length} bytes")
            received += count
        return received

    def _head(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def _send_file(self, layer: Layer) -> None:
        with layer.file.open("rb") as file:
            offset = 0
            while offset < layer.file_size:
                offset += os.sendfile(self._socket.fileno(), file.fileno(), offset, layer.file_size - offset)
        self._socket.sendall(layer.tail)

    def _send_chunks(self, layer: Layer) -> None:
        size = layer.file_size
        with (
            layer.file.open("rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
            memoryview(mapped) as view,
        ):
            for start in range(0, size, _CHUNK * _CHUNKS_A_CALL):
                end = min(size, start + _CHUNK * _CHUNKS_A_CALL)
                self._send_group([view[at : min(end, at + _CHUNK)] for at in range(start, end, _CHUNK)])
        self._send_group([memoryview(layer.tail)])
        self._socket.sendall(b"0\r\n\r\n")

    def _send_group(self, chunks: list[memoryview]) -> None:
        parts: list[bytes | memoryview] = []
        for chunk in chunks:
            parts += (b"%x\r\n" % len(chunk), chunk, b"\r\n")
        sent = self._socket.sendmsg(parts)
        if sent < sum(map(len, parts)):
            self._socket.sendall(b"".join(parts)[sent:])
        for chunk in chunks:
            chunk.release()

    def _answer(self, method: str) -> Answer:
        answer, body = self._receive_head()
        length = 0 if method == "HEAD" else int(answer.headers.get("content-length", "0"))
        while len(body) < length:
            body += self._receive()
        return Answer(answer.status, answer.headers, body)

    def _receive_head(self) -> tuple[Answer, bytes]:
        """The head of an answer, and what came of its body along with it."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "transfer-encoding" in headers:
            raise LoadError("an answer in chunks is nothing that this client can read")
        return Answer(int(status.split(" ", 2)[1]), headers, b""), rest

    def _receive(self) -> bytes:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionResetError("the registry closed the connection")
        return received
