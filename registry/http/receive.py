"""Reading the body of a request: in batches, within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from aiohttp import ClientError, HttpVersion11, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from registry.errors import (
    ClientGone,
    ManifestTooLarge,
    MediaTypeUnsupported,
    RegistryError,
    RequestTimeout,
    RequestTooLarge,
    Unavailable,
)
from registry.http.router import Call

_BATCH = 1024 * 1024
_PAUSE = 0.5  # seconds


async def batches(call: Call, timeout: float) -> AsyncIterator[list[bytes]]:
    """The body in batches of about 1 MiB; raises ClientGone, or RequestTimeout after `timeout` silent seconds."""
    _check_encoding(call.request)
    await _continue(call.request)
    content = call.request.content
    batch: list[bytes] = []
    size = 0
    while True:
        try:
            chunk = await _next(content, min(_PAUSE, timeout) if batch else timeout)
        except ClientGone as error:
            if not batch:
                raise
            # What did arrive is kept, so that a client on a bad line gets on; and one that pauses holds no memory.
            yield batch
            batch, size = [], 0
            if not isinstance(error, RequestTimeout):
                raise
            continue
        if not chunk:
            break
        batch.append(chunk)
        size += len(chunk)
        call.received += len(chunk)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class Budget:
    """How many bytes of bodies a process holds in memory at once."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    @contextmanager
    def spending(self) -> Iterator[Callable[[int], None]]:
        """Yields how to take bytes, which raises Unavailable where none are left; at the end they are given back."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self._left:
                raise Unavailable("too many large bodies are on their way at once; try again")
            self._left -= size
            taken += size

        try:
            yield take
        finally:
            self._left += taken


async def whole(call: Call, limit: int, timeout: float, take: Callable[[int], None]) -> bytes:
    """A manifest as one piece, its bytes taken from a budget; raises ManifestTooLarge beyond `limit` bytes."""
    too_large = ManifestTooLarge(f"a manifest has at most {limit} bytes", {"limit": limit})
    return await _whole(call, limit, timeout, take, too_large)


async def small(call: Call, limit: int, timeout: float, take: Callable[[int], None]) -> bytes:
    """The same for a form or a document; raises RequestTooLarge."""
    too_large = RequestTooLarge(f"a body has at most {limit} bytes here", {"limit": limit})
    return await _whole(call, limit, timeout, take, too_large)


async def _whole(
    call: Call, limit: int, timeout: float, take: Callable[[int], None], too_large: RegistryError
) -> bytes:
    if (call.request.content_length or 0) > limit:
        raise too_large
    body = bytearray()
    async for batch in batches(call, timeout):
        for chunk in batch:
            take(len(chunk))
            body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def is_empty(request: web.BaseRequest) -> bool:
    return not request.body_exists or request.content_length == 0


async def _next(content: StreamReader, timeout: float) -> bytes:
    try:
        async with asyncio.timeout(timeout):
            return await content.readany()
    except TimeoutError:
        raise RequestTimeout(f"nothing was received for {timeout:g} seconds") from None
    except (ClientError, ConnectionError, HttpProcessingError, web.RequestPayloadError) as error:
        raise ClientGone("the request broke off in its body") from error


def _check_encoding(request: web.BaseRequest) -> None:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise MediaTypeUnsupported("send the content as it is, without Content-Encoding", {"encoding": encoding[:64]})


async def _continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it that its body is welcome (RFC 9110, section 10.1.1)."""
    expects = request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue"
    if expects and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
