"""A slave's way to the registry above it: the requests of the protocol (replication.wire), and what can go wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from msgspec import Struct

from registry.domain.replica import Upstream
from registry.domain.succession import Claim
from registry.errors import StartupError
from replication import wire
from replication.content import Content
from replication.wire import Ack, Epoch, HandOver, Line, Position, Unreadable

_TIMEOUT = ClientTimeout(total=None, sock_connect=10, sock_read=3 * wire.HEARTBEAT)
_CONNECTIONS = 16
_MOST_OF_AN_ERROR = 4096
_LONGEST_PAUSE = 3.0  # seconds


class UpstreamError(Exception):
    """The registry above could not be asked, or its answer broke off: worth another try. The text is for people."""


class TimedOutError(UpstreamError):
    """It did not answer, or not go on, in time."""


class RefusedError(UpstreamError):
    """It does not let us in (any more)."""


class SlaveError(UpstreamError):
    """What was asked is for a master, and it is a slave itself."""


class CutOffError(UpstreamError):
    """Its log does not reach back to where we are: a snapshot is needed."""


class ForkedError(UpstreamError):
    """Where we are is no place of its log: it was restored from a backup, is another registry, or another node has
    taken its master's place (`fork` says so)."""

    fork: wire.Fork | None = None


class NoBlobError(UpstreamError):
    """It does not have the blob (any more)."""


class NoMoreError(UpstreamError):
    """The blob has no byte at the place that was asked for."""


_MEANING: Mapping[int, type[UpstreamError]] = {
    401: RefusedError,
    403: RefusedError,
    404: NoBlobError,
    405: SlaveError,
    409: ForkedError,
    410: CutOffError,
    416: NoMoreError,
}


class UpstreamClient:
    """Close it. Every method raises UpstreamError."""

    def __init__(
        self, url: str, token: str = "", ca_file: str = "", repositories: Sequence[str] = (), name: str = ""
    ) -> None:
        """Asks nobody yet; later for `repositories` alone, where there are such patterns. `name`: what a slave without
        a token calls itself.

        Raises StartupError where `ca_file` cannot be used.
        """
        self.repositories = tuple(repositories)
        self.url = url.rstrip("/")
        self._name = name
        self._token = token
        self._trust = _trust(ca_file)
        self._session: ClientSession | None = None
        self.fetched = 0
        """Bytes of blobs that came."""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def log(self, at: Upstream) -> AsyncGenerator[Line]:
        """Hello, then the events after a position and Heartbeats, for as long as the connection lives."""
        known = {"after": str(at.serial), "epoch": str(at.epoch), "chain": at.chain}
        return self._lines("log", {"cursor": at.cursor} if at.cursor else known)

    def snapshot(self, after: str, cursor: str = "") -> AsyncGenerator[Line]:
        """Everything, or, where a snapshot broke off, what comes after the repository `after`.

        `cursor`: that of the beginning of the snapshot, of a slave of some repositories.
        """
        return self._lines("snapshot", {name: text for name, text in (("after", after), ("cursor", cursor)) if text})

    def repository(self, name: str) -> AsyncGenerator[Line]:
        """As `snapshot`, of one repository: without records, and what the log says meanwhile has to be known."""
        return self._lines("repository", {"name": name})

    async def state(self, after: str) -> wire.State:
        """The sums of some repositories."""
        async with self._asked("GET", "state", {"after": after} if after else {}) as response:
            return await _answer(response, wire.State)

    async def blob(self, digest: str, start: int, repository: str = "") -> AsyncGenerator[bytes]:
        """The bytes from `start` to the end of a blob. `repository`: one that has it, for a registry above that is a
        slave itself and has not got the blob yet."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        query = [*([("repository", repository)] if repository else []), *self._limits()]
        async with self._asked("GET", f"blobs/{digest}", query, headers=headers) as response:
            behind = start if response.status == 200 else 0
            async for chunk in response.content.iter_any():
                self.fetched += len(chunk)
                wanted = chunk[behind:]
                behind -= len(chunk) - len(wanted)
                if wanted:
                    yield wanted

    async def content(self, kind: str, repository: str, digest: str) -> Content:
        """What a repository has of a digest; `kind` as in replication.content."""
        asked = [("kind", kind), ("repository", repository), ("digest", digest), *self._limits()]
        async with self._asked("GET", "content", asked) as response:
            return await _answer(response, Content)

    async def ack(self, ack: Ack) -> None:
        query = [*self._limits(), *([("name", self._name)] if self._name else [])]
        async with self._asked("POST", "ack", query, content=wire.encode_one(ack)):
            pass

    async def epoch(self, url: str = "") -> Epoch:
        """Where a log is: that at this address, or the one that is followed."""
        async with self._asked("GET", "epoch", at=url) as response:
            return await _answer(response, Epoch)

    async def hand_over(self, seconds: float) -> Position:
        """The end of the log of a master that takes nothing for so long."""
        async with self._asked("POST", "handover", content=wire.encode_one(HandOver(seconds))) as response:
            return await _answer(response, Position)

    async def claim(self, url: str, claim: Claim) -> None:
        """Tell a former master that its place was taken. Raises ForkedError where it does not give way."""
        async with self._asked("POST", "claim", content=wire.encode_one(claim), at=url):
            pass

    async def _lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[Line]:
        async with self._asked("GET", path, [*query.items(), *self._limits()]) as response:
            async for line in wire.lines(response.content.iter_any()):
                try:
                    read = wire.decode(line)
                except Unreadable as error:
                    raise UpstreamError(f"{self.url} sends what is no line of the protocol: {error}") from error
                if isinstance(read, wire.Hello) and self.repositories and not read.cursor:
                    raise UpstreamError(f"{self.url} would send all repositories: it knows no slaves of some of them")
                if read is not None:
                    yield read

    def _limits(self) -> list[tuple[str, str]]:
        return [("repo", pattern) for pattern in self.repositories]

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        at: str = "",
    ) -> AsyncIterator[ClientResponse]:
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        if content is not None:
            sent["Content-Type"] = "application/json"
        url = f"{at or self.url}{wire.BASE}/{path}"
        try:
            async with self._opened().request(
                method, url, params=query, headers=sent, data=content, allow_redirects=False
            ) as response:
                await self._check(response)
                yield response
        except TimeoutError as error:
            raise TimedOutError(f"{at or self.url} does not answer: {str(error) or type(error).__name__}") from error
        except (ClientError, OSError, Unreadable) as error:
            raise UpstreamError(f"{at or self.url}: {str(error) or type(error).__name__}") from error

    async def _check(self, response: ClientResponse) -> None:
        if response.status in (200, 204, 206):
            return
        body = await _beginning(response, _MOST_OF_AN_ERROR)
        said = f"{response.url.origin()} answers {response.status}: {' '.join(body.decode('utf-8', 'replace').split())}"
        error = _MEANING.get(response.status, UpstreamError)(said)
        if isinstance(error, ForkedError):
            error.fork = _fork(body)
        raise error

    def _opened(self) -> ClientSession:
        if self._session is None:
            connector = TCPConnector(limit=_CONNECTIONS, ssl=self._trust)
            self._session = ClientSession(connector=connector, timeout=_TIMEOUT, auto_decompress=False)
        return self._session


T = TypeVar("T")


async def _answer(response: ClientResponse, kind: type[T]) -> T:
    """A body that is no stream. Raises UpstreamError where it is none that this protocol has."""
    body = await _beginning(response, wire.LONGEST_LINE + 1)
    if len(body) > wire.LONGEST_LINE:
        raise UpstreamError(f"{response.url.origin()} sends an answer that is too long")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamError(f"{response.url.origin()} sends what is none of the protocol: {error}") from error


async def _beginning(response: ClientResponse, most: int) -> bytes:
    """A body, or as much of it."""
    body = bytearray()
    while len(body) < most and (chunk := await response.content.read(most - len(body))):
        body += chunk
    return bytes(body)


class _Entry(Struct):
    detail: wire.Fork


class _Errors(Struct):
    errors: list[_Entry]


def _fork(body: bytes) -> wire.Fork | None:
    try:
        return msgspec.json.decode(body, type=_Errors).errors[0].detail
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError):
        return None


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
