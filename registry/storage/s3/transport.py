"""One request to a store: signed, sent, its answer read, and asked again as long as that may help."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree as ET

import aiohttp
import structlog
import yarl
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter

from registry.errors import StorageFailure, StoreRefused, Unavailable
from registry.sendfile import SocketOutlet
from registry.storage.s3 import retries
from registry.storage.s3.retries import Failure
from registry.storage.s3.settings import StoreSettings
from registry.storage.s3.signing import Signer

log = structlog.get_logger(__name__)

_CALLS = 64
_READS = 88  # a slow client holds its read for long, so reads have their own; each costs up to 2 MB
_READ_BUFFER = 128 * 1024
_WAIT_FOR_READ = 10.0  # seconds
_SILENCE = 30.0  # seconds
_CONNECT_TIMEOUT = 10.0  # seconds
_LARGEST_ANSWER = 4 * 1024 * 1024
_SLICE = 1024 * 1024
_DOWN_AFTER = 5.0  # seconds
_ASK_AGAIN_AFTER = 3.0  # seconds
_FORGOTTEN_AFTER = 60.0  # seconds
# Stores refuse what was signed more than 15 minutes before or after their time; dates are rounded to seconds.
_SKEW_REFUSED = timedelta(minutes=14)
BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError, OSError)


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body that is read from an open file while it is sent, so that it takes no memory."""

    fd: int
    size: int
    crc32: int

    async def slices(self) -> AsyncIterator[bytes]:
        """Raises StorageFailure where the file has fewer bytes than it should."""
        position = 0
        while position < self.size:
            chunk = await asyncio.to_thread(os.pread, self.fd, min(_SLICE, self.size - position), position)
            if not chunk:
                raise _shorter()
            position += len(chunk)
            yield chunk


class _Payload(aiohttp.payload.Payload):
    """A body for aiohttp's client, which goes from its file to the socket inside the kernel where there is no TLS.

    `moved` is called with True whenever the store has taken some of it, with False at the end.
    """

    def __init__(self, body: FileBody, moved: Callable[[bool], None]) -> None:
        super().__init__(body)
        self._size = body.size
        self._body = body
        self._moved = moved

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("the body of a blob is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Raises StorageFailure where the file has fewer bytes than it should."""
        assert isinstance(writer, StreamWriter)
        transport = writer.transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            async for chunk in self._body.slices():
                self._moved(True)
                await writer.write(chunk)
        else:
            writer.send_headers()
            async with SocketOutlet(transport, writer.drain) as outlet:
                for start in range(0, self._body.size, _SLICE):
                    self._moved(True)
                    stop = min(start + _SLICE, self._body.size)
                    if await outlet.send(self._body.fd, start, stop) < stop - start:
                        raise _shorter()
        self._moved(False)


class RefusedError(Exception):
    """The store said no, and asking again will not help."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.status} {failure.code}".strip())
        self.failure = failure

    def as_failure(self, what: str) -> StorageFailure:
        """The error for a client; `what` the store refused."""
        said = {"status": self.failure.status, "code": self.failure.code, "error": str(self)}
        return StoreRefused(f"the object store refused {what}", said)


class UntrustedError(Unavailable):
    """The certificate of the store is none that we trust."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    def header(self, name: str) -> str:
        """Raises StorageFailure where the answer has none of that name."""
        if (value := self.headers.get(name)) is None:
            raise StorageFailure(f"the object store answered without {name}", {"status": self.status})
        return value

    def text(self, tag: str) -> str:
        """The text of the first element of that name, whatever its namespace; "" where there is none."""
        return text_of(self.content, tag)


class Transport:
    """Requests to the objects of one bucket."""

    def __init__(self, settings: StoreSettings, signer: Signer) -> None:
        self._settings = settings
        self._signer = signer
        self._calls: aiohttp.ClientSession | None = None
        self._reads: aiohttp.ClientSession | None = None
        self._failing_since: float | None = None
        self._failed_at = 0.0

    async def close(self) -> None:
        for session in (self._calls, self._reads):
            if session is not None:
                await session.close()

    @property
    def is_down(self) -> bool:
        """Whether requests have failed for some time, and the last one just now."""
        now = time.monotonic()
        return (
            self._failing_since is not None
            and now - self._failing_since > _DOWN_AFTER
            and now - self._failed_at < _ASK_AGAIN_AFTER
        )

    async def call(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | FileBody = b"",
        *,
        budget: float = 60.0,
    ) -> Answer:
        """Raises RefusedError, and Unavailable after `budget` seconds of failures that may pass."""
        started, attempt = time.monotonic(), 0
        while True:
            try:
                async with self._open(
                    self._session_of_calls(), method, key, query or {}, headers or {}, body
                ) as response:
                    return Answer(response.status, response.headers, await _content_of(response))
            except BROKEN as error:
                if isinstance(error.__cause__, StorageFailure):  # the body could not be read: no fault of the store
                    raise error.__cause__ from None
                failure, cause = Failure(), str(error) or repr(error)
            except RefusedError as error:
                if not error.failure.passes:
                    raise
                failure, cause = error.failure, str(error)
            await self.pause(failure, attempt, started, budget, cause)
            attempt += 1

    async def pause(self, failure: Failure, attempt: int, started: float, budget: float, cause: str) -> None:
        """Wait before asking again; raises Unavailable where that has gone on for too long."""
        now = time.monotonic()
        if self._failing_since is None or now - self._failed_at > _FORGOTTEN_AFTER:
            self._failing_since = now
        self._failed_at = now
        seconds = retries.wait(failure, attempt, now - started, budget, random.random())  # noqa: S311 - no secret
        if seconds is None:
            raise Unavailable("the object store does not answer; try again later", {"error": cause[:200]})
        await asyncio.sleep(seconds)

    def read(self, key: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """One attempt to GET an object, over a connection that may be held for long; raises RefusedError as a call."""
        return self._open(self._session_of_reads(), "GET", key, {}, headers)

    @asynccontextmanager
    async def _open(
        self,
        session: aiohttp.ClientSession,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | FileBody = b"",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One attempt; raises RefusedError for every answer that is no success."""
        url = self._settings.url(key)
        size = body.size if isinstance(body, FileBody) else len(body)
        sent = {**headers, "Content-Length": str(size)} if method in ("PUT", "POST") else dict(headers)
        signed = await self._signer.headers(method, url, query, sent)
        target = yarl.URL(url, encoded=True).with_query(query) if query else yarl.URL(url, encoded=True)
        async with await self._sent(session, method, target, signed, body) as response:
            if response.status >= 300:
                raise RefusedError(await self._failure(response))
            self._failing_since = None
            yield response

    async def _sent(
        self,
        session: aiohttp.ClientSession,
        method: str,
        target: yarl.URL,
        headers: Mapping[str, str],
        body: bytes | FileBody,
    ) -> aiohttp.ClientResponse:
        """Send a request. aiohttp's bound on silence begins after the body, so a store that stops reading has its own:
        TimeoutError where no slice was taken for that long."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as silence:

            def moved(goes_on: bool) -> None:
                silence.reschedule(loop.time() + _SILENCE if goes_on else None)

            async def watched(content: bytes) -> AsyncIterator[bytes]:
                for position in range(0, len(content), _SLICE):
                    moved(True)
                    yield content[position : position + _SLICE]
                moved(False)

            data = _Payload(body, moved) if isinstance(body, FileBody) else watched(body) if body else None
            try:
                return await session.request(
                    method,
                    target,
                    headers=headers,
                    data=data,
                    proxy=self._settings.proxy or None,
                    allow_redirects=False,
                )
            except aiohttp.ClientConnectorCertificateError as error:
                said = {"error": str(error.certificate_error)}
                raise UntrustedError("the certificate of the object store is not to be trusted", said) from error

    async def _failure(self, response: aiohttp.ClientResponse) -> Failure:
        code = text_of(await _content_of(response), "Code")
        ahead = _ahead(response.headers.get("Date", ""))
        if response.method == "HEAD" and response.status == 403 and abs(ahead - self._signer.skew) > _SKEW_REFUSED:
            code = "RequestTimeTooSkewed"  # the answer to HEAD has no body that could say so
        if code == "RequestTimeTooSkewed" and ahead:
            self._signer.skew = ahead
            log.warning("our clock and that of the object store differ", seconds=ahead.total_seconds())
        token = response.request_info.headers.get("X-Amz-Security-Token", "")
        could_be_expired = response.method == "HEAD" and response.status in (400, 403) and token and not code
        if (code == "ExpiredToken" or could_be_expired) and await self._signer.renewed(token):
            code = "ExpiredToken"
        after = response.headers.get("Retry-After", "")
        region = response.headers.get("x-amz-bucket-region", "")
        return Failure(response.status, code, float(after) if after.isdigit() else 0.0, region)

    def _session_of_calls(self) -> aiohttp.ClientSession:
        if self._calls is None:
            self._calls = self._session(_CALLS, None)
        return self._calls

    def _session_of_reads(self) -> aiohttp.ClientSession:
        if self._reads is None:
            self._reads = self._session(_READS, _WAIT_FOR_READ)
        return self._reads

    def _session(self, connections: int, wait: float | None) -> aiohttp.ClientSession:
        """So many connections at once, each waited for as long as that."""
        tls = self._settings.trust()
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls),
            timeout=aiohttp.ClientTimeout(connect=wait, sock_connect=_CONNECT_TIMEOUT, sock_read=_SILENCE),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Content-Type"),
            read_bufsize=_READ_BUFFER,
        )


async def _content_of(response: aiohttp.ClientResponse) -> bytes:
    """The whole body of an answer, which may come in pieces with pauses between them."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise StorageFailure("an answer of the object store is too large", {"limit": _LARGEST_ANSWER})
    return bytes(content)


def _shorter() -> StorageFailure:
    return StorageFailure("the spooled bytes of an upload are shorter than what was written")


def _ahead(date: str) -> timedelta:
    """How far the clock that wrote a Date header is ahead of ours; nothing where it cannot be read."""
    try:
        return parsedate_to_datetime(date).replace(tzinfo=UTC) - datetime.now(UTC)
    except ValueError:
        return timedelta()


def parsed(content: bytes) -> ET.Element | None:
    """An XML document, None where it is none. Stores put spaces before one while they work on the answer."""
    try:
        return ET.fromstring(content.strip())  # noqa: S314 - from the operator's own store, and bounded
    except ET.ParseError:
        return None


def name_of(element: ET.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def text_of(content: bytes, tag: str) -> str:
    root = parsed(content)
    if root is None:
        return ""
    return next((element.text or "" for element in root.iter() if name_of(element) == tag), "")
