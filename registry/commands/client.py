"""How commands reach the administration: what each way offers, and HTTP, over a network or by the control socket."""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec

from registry.api.operation import Answer, Operation
from registry.api.shapes import Errors
from registry.config import Address
from registry.errors import StartupError

A = TypeVar("A")

_TIMEOUT = 60.0  # seconds
_LARGEST_ANSWER = 16 * 1024 * 1024
NOTHING: Mapping[str, str] = {}


class Client(Protocol):
    """Does what an operation says. Raises StartupError, which says what is wrong."""

    def call(
        self,
        operation: Operation[A],
        parameters: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        body: msgspec.Struct | None = None,
    ) -> Answer[A]: ...


def pages(client: Client, operation: Operation[A], query: Mapping[str, str] = NOTHING) -> Iterator[A]:
    """All of a list."""
    last = ""
    while True:
        answer = client.call(operation, query={**query, "n": "1000"} | ({"last": last} if last else {}))
        yield answer.body
        if not (last := answer.last):
            return


class HttpClient:
    """`connect` makes a connection, `where` names the server in messages; `headers` go with each request."""

    def __init__(self, connect: Callable[[], http.client.HTTPConnection], where: str, headers: Mapping[str, str]):
        self._connect = connect
        self._where = where
        self._headers = headers

    def call(
        self,
        operation: Operation[A],
        parameters: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
        body: msgspec.Struct | None = None,
    ) -> Answer[A]:
        path = operation.template.format_map({name: quote(text, safe="") for name, text in parameters.items()})
        address = f"{path}?{urlencode(query)}" if query else path
        headers, content = {**self._headers}, None
        if body is not None:
            headers["Content-Type"], content = "application/json", msgspec.json.encode(body)
        connection = self._connect()
        try:
            connection.request(operation.method, address, content, headers)
            response = connection.getresponse()
            answer = response.read(_LARGEST_ANSWER)
        except ssl.SSLError as error:
            raise StartupError(f"{self._where}: {error.reason or error}; --ca-file names whom to trust") from error
        except (OSError, http.client.HTTPException) as error:
            raise StartupError(f"{self._where} does not answer: {error}") from error
        finally:
            connection.close()
        return self._answer(operation, response, answer)

    def _answer(self, operation: Operation[A], response: http.client.HTTPResponse, answer: bytes) -> Answer[A]:
        if response.status != operation.status_of_success:
            raise StartupError(f"{self._where}: {_reason(answer) or f'answered {response.status} {response.reason}'}")
        if operation.answer is type(None):
            return Answer(None)
        try:
            body = msgspec.json.decode(answer, type=operation.answer)
        except msgspec.DecodeError as error:
            raise StartupError(f"{self._where} answered what is not of this API: {error}") from error
        return Answer(body, _last_of(response.headers.get("Link", "")))


def remote(url: str, user: str, password: str, ca_file: Path | None) -> Client:
    """A server somewhere. Raises StartupError where the password would be seen on the way."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.username:
        raise StartupError("--server is the address of a registry, such as https://registry.example:5000")
    host, port = parts.hostname, parts.port
    if parts.scheme == "http":
        if not Address(host, 0).is_loopback:
            raise StartupError(f"{url} would send the password where others can read it: use https://")

        def connect() -> http.client.HTTPConnection:
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    else:
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise StartupError(f"--ca-file {ca_file} cannot be read: {error}") from error

        def connect() -> http.client.HTTPConnection:
            return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)

    credentials = b64encode(f"{user}:{password}".encode()).decode()
    return HttpClient(connect, url, {"Authorization": f"Basic {credentials}"})


def _reason(answer: bytes) -> str:
    try:
        return "; ".join(entry.message for entry in msgspec.json.decode(answer, type=Errors).errors)
    except msgspec.DecodeError:
        return ""


def _last_of(link: str) -> str:
    """Where the next page begins (RFC 8288); wherever else the link leads, the server that we know is asked."""
    target, _, relation = link.partition(">")
    if 'rel="next"' not in relation:
        return ""
    return parse_qs(urlsplit(target.removeprefix("<")).query).get("last", [""])[0]
