"""One request to a store: signed, sent, its answer read, and asked again as long as that may help."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree as ET

import aiohttp
import structlog
import yarl

from registry.errors import RegistryError, StorageFailure, Unavailable
from registry.storage.s3 import retries
from registry.storage.s3.retries import Failure
from registry.storage.s3.settings import StoreSettings
from registry.storage.s3.signing import Signer

log = structlog.get_logger(__name__)

_CONNECTIONS = 64
_CONNECT_TIMEOUT = 10.0
_SILENCE = 30.0
_LARGEST_ANSWER = 4 * 1024 * 1024
_SLICE = 512 * 1024
_DOWN_AFTER = 5.0
_ASK_AGAIN_AFTER = 3.0
_FORGOTTEN_AFTER = 60.0
# Stores refuse what was signed more than 15 minutes before or after their time; dates are rounded to seconds.
_SKEW_REFUSED = timedelta(minutes=14)
BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError, OSError)


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body that is read from an open file while it is sent, so that it takes no memory."""

    fd: int
    size: int

    async def slices(self) -> AsyncIterator[bytes]:
        """Raises StorageFailure where the file has fewer bytes than it should."""
        position = 0
        while position < self.size:
            chunk = await asyncio.to_thread(os.pread, self.fd, min(_SLICE, self.size - position), position)
            if not chunk:
                raise StorageFailure("the spooled bytes of an upload are shorter than what was written")
            position += len(chunk)
            yield chunk


class RefusedError(Exception):
    """The store said no, and asking again will not help."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.status} {failure.code}")
        self.failure = failure

    def told(self, what: str) -> RegistryError:
        said = {"status": self.failure.status, "code": self.failure.code}
        return StorageFailure(f"the object store refused {what}", said)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    def header(self, name: str) -> str:
        """Raises StorageFailure where the answer has none of that name."""
        for found, value in self.headers.items():
            if found.lower() == name:
                return value
        raise StorageFailure(f"the object store answered without {name}", {"status": self.status})

    def text(self, tag: str) -> str:
        """The text of the first element of that name, whatever its namespace; "" where there is none."""
        return text_of(self.content, tag)


class Transport:
    """Requests to the objects of one bucket."""

    def __init__(self, settings: StoreSettings, signer: Signer) -> None:
        self._settings = settings
        self._signer = signer
        self._session: aiohttp.ClientSession | None = None
        self._failing_since: float | None = None
        self._failed_at = 0.0

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

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
                async with self.open(method, key, query or {}, headers or {}, body) as response:
                    return Answer(response.status, dict(response.headers), await _content_of(response))
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

    @asynccontextmanager
    async def open(
        self,
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
        async with await self._sent(method, target, signed, body) as response:
            if response.status >= 300:
                raise RefusedError(await self._failure(response))
            self._failing_since = None
            yield response

    async def _sent(
        self, method: str, target: yarl.URL, headers: Mapping[str, str], body: bytes | FileBody
    ) -> aiohttp.ClientResponse:
        """Send a request. aiohttp's bound on silence begins after the body, so a store that stops reading has its own:
        TimeoutError where no slice was taken for that long."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as silence:

            async def watched() -> AsyncIterator[bytes]:
                async for chunk in body.slices() if isinstance(body, FileBody) else _slices_of(body):
                    silence.reschedule(loop.time() + _SILENCE)
                    yield chunk
                silence.reschedule(None)

            return await self._connected().request(
                method,
                target,
                headers=headers,
                data=watched() if isinstance(body, FileBody) or body else None,
                proxy=self._settings.proxy or None,
                allow_redirects=False,
            )

    async def _failure(self, response: aiohttp.ClientResponse) -> Failure:
        code = text_of(await _content_of(response), "Code")
        ahead = _ahead(response.headers.get("Date", ""))
        if response.method == "HEAD" and response.status == 403 and abs(ahead - self._signer.skew) > _SKEW_REFUSED:
            code = "RequestTimeTooSkewed"  # the answer to HEAD has no body that could say so
        if code == "RequestTimeTooSkewed" and ahead:
            self._signer.skew = ahead
            log.warning("our clock and that of the object store differ", seconds=ahead.total_seconds())
        if code == "ExpiredToken":
            await self._signer.renew()
        after = response.headers.get("Retry-After", "")
        return Failure(response.status, code, float(after) if after.isdigit() else 0.0)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls: ssl.SSLContext | bool = True
            if self._settings.ca_file:
                tls = ssl.create_default_context(cafile=self._settings.ca_file)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=tls),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=_SILENCE),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding", "User-Agent", "Content-Type"),
                read_bufsize=1024 * 1024,
            )
        return self._session


async def _content_of(response: aiohttp.ClientResponse) -> bytes:
    """The whole body of an answer, which may come in pieces with pauses between them."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise StorageFailure("an answer of the object store is too large", {"limit": _LARGEST_ANSWER})
    return bytes(content)


async def _slices_of(body: bytes) -> AsyncIterator[bytes]:
    for position in range(0, len(body), _SLICE):
        yield body[position : position + _SLICE]


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
