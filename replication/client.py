"""A slave's way to the registry above it: the requests of the protocol (replication.wire), and what can go wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector

from registry.domain.replica import Upstream
from registry.errors import StartupError
from replication import wire
from replication.content import Content
from replication.wire import Ack, Line, Unreadable

_TIMEOUT = ClientTimeout(total=None, sock_connect=10, sock_read=3 * wire.HEARTBEAT)
_CONNECTIONS = 16
_MOST_OF_AN_ERROR = 500
_MOST_OF_A_MANIFEST = 8 * 1024 * 1024  # with what base64 adds
_LONGEST_PAUSE = 3.0  # seconds


class UpstreamError(Exception):
    """The registry above could not be asked, or its answer broke off: worth another try. The text is for people."""


class TimedOutError(UpstreamError):
    """It did not answer, or not go on, in time."""


class RefusedError(UpstreamError):
    """It does not let us in (any more)."""


class CutOffError(UpstreamError):
    """Its log does not reach back to where we are: a snapshot is needed."""


class ForkedError(UpstreamError):
    """Where we are is no place of its log: it was restored from a backup, or is another registry."""


class NoBlobError(UpstreamError):
    """It does not have the blob (any more)."""


class NoMoreError(UpstreamError):
    """The blob has no byte at the place that was asked for."""


_MEANING: Mapping[int, type[UpstreamError]] = {
    401: RefusedError,
    403: RefusedError,
    404: NoBlobError,
    409: ForkedError,
    410: CutOffError,
    416: NoMoreError,
}


class UpstreamClient:
    """Close it. Every method raises UpstreamError."""

    def __init__(self, url: str, token: str = "", ca_file: str = "") -> None:
        """Asks nobody yet. Raises StartupError where `ca_file` cannot be used."""
        self.url = url.rstrip("/")
        self._token = token
        self._trust = _trust(ca_file)
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def log(self, at: Upstream) -> AsyncGenerator[Line]:
        """Hello, then the events after a position and Heartbeats, for as long as the connection lives."""
        return self._lines("log", {"after": str(at.serial), "epoch": str(at.epoch), "chain": at.chain})

    def snapshot(self, after: str) -> AsyncGenerator[Line]:
        """Everything, or, where a snapshot broke off, what comes after the repository `after`."""
        return self._lines("snapshot", {"after": after} if after else {})

    async def blob(self, digest: str, start: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` to the end of a blob."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        async with self._asked("GET", f"blobs/{digest}", headers=headers) as response:
            behind = start if response.status == 200 else 0
            async for chunk in response.content.iter_any():
                wanted = chunk[behind:]
                behind -= len(chunk) - len(wanted)
                if wanted:
                    yield wanted

    async def content(self, kind: str, repository: str, digest: str) -> Content:
        """What a repository has of a digest; `kind` as in replication.content."""
        asked = {"kind": kind, "repository": repository, "digest": digest}
        async with self._asked("GET", "content", asked) as response:
            text = await response.content.read(_MOST_OF_A_MANIFEST + 1)
            while len(text) <= _MOST_OF_A_MANIFEST and (more := await response.content.read(_MOST_OF_A_MANIFEST)):
                text += more
        try:
            return msgspec.json.decode(text, type=Content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamError(f"{self.url} sends what is no answer of the protocol: {error}") from error

    async def ack(self, ack: Ack) -> None:
        async with self._asked("POST", "ack", content=wire.encode_ack(ack)):
            pass

    async def _lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[Line]:
        async with self._asked("GET", path, query) as response:
            async for line in wire.lines(response.content.iter_any()):
                try:
                    read = wire.decode(line)
                except Unreadable as error:
                    raise UpstreamError(f"{self.url} sends what is no line of the protocol: {error}") from error
                if read is not None:
                    yield read

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> AsyncIterator[ClientResponse]:
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        if content is not None:
            sent["Content-Type"] = "application/json"
        url = f"{self.url}{wire.BASE}/{path}"
        try:
            async with self._opened().request(
                method, url, params=query, headers=sent, data=content, allow_redirects=False
            ) as response:
                await self._check(response)
                yield response
        except TimeoutError as error:
            raise TimedOutError(f"{self.url} does not answer: {str(error) or type(error).__name__}") from error
        except (ClientError, OSError, Unreadable) as error:
            raise UpstreamError(f"{self.url}: {str(error) or type(error).__name__}") from error

    async def _check(self, response: ClientResponse) -> None:
        if response.status in (200, 204, 206):
            return
        text = (await response.content.read(_MOST_OF_AN_ERROR)).decode("utf-8", "replace")
        said = f"{self.url} answers {response.status}: {' '.join(text.split())}"
        raise _MEANING.get(response.status, UpstreamError)(said)

    def _opened(self) -> ClientSession:
        if self._session is None:
            connector = TCPConnector(limit=_CONNECTIONS, ssl=self._trust)
            self._session = ClientSession(connector=connector, timeout=_TIMEOUT, auto_decompress=False)
        return self._session


def _trust(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise StartupError(f"replication.ca_file: {ca_file} cannot be used: {error.strerror or error}") from None


async def pause(tries: int) -> None:
    """Between two tries: longer each time, a few seconds at most."""
    await asyncio.sleep(min(_LONGEST_PAUSE, 0.2 * 2 ** min(tries, 8)))
