"""Sending a blob: whole, one range of it, or several; straight from its file, or as it comes from elsewhere."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing

import structlog
from aiohttp import web

from registry.http.ranges import ByteRange
from registry.http.router import NO_PAGE, STAY_WITH_HTTPS, Call
from registry.ports import BlobFile, BlobStream, reading
from registry.sendfile import SocketOutlet

log = structlog.get_logger(__name__)

_SLICE = 16 * 1024 * 1024
_READ = 512 * 1024  # as much as a slow client holds in memory; smaller pieces cost more hops between threads


async def send_blob(
    call: Call, blob: BlobFile | BlobStream, ranges: list[ByteRange], headers: Mapping[str, str], content_type: str
) -> web.StreamResponse:
    """Answer with the bytes of an open blob, which is closed afterwards.

    Where there are fewer bytes than the blob has, the connection is cut: the client must not take what it
    got for the whole.
    """
    headers = {
        **headers,
        "Server": "Shoal",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": NO_PAGE,
        "Docker-Distribution-Api-Version": "registry/2.0",
        "X-Request-Id": call.id,
    }
    if call.https:
        headers["Strict-Transport-Security"] = STAY_WITH_HTTPS
    with closing(blob):
        if len(ranges) > 1:
            return await _send_several(call, blob, ranges, headers, content_type)
        wanted = ranges[0] if ranges else ByteRange(0, blob.size)
        response = web.StreamResponse(status=206 if ranges else 200, headers=headers)
        response.content_type = content_type
        response.content_length = wanted.length
        if ranges:
            response.headers["Content-Range"] = wanted.content_range(blob.size)
        async with _reading(blob, wanted) as source:
            call.begun = True
            await response.prepare(call.request)
            await _send_range(call, response, source, wanted)
        await response.write_eof()
        return response


async def _send_several(
    call: Call, blob: BlobFile | BlobStream, ranges: list[ByteRange], headers: Mapping[str, str], content_type: str
) -> web.StreamResponse:
    """multipart/byteranges (RFC 9110, section 14.6)."""
    boundary = secrets.token_hex(16)
    heads = [_part_head(boundary, content_type, part.content_range(blob.size)) for part in ranges]
    end = f"\r\n--{boundary}--\r\n".encode()
    response = web.StreamResponse(status=206, headers=headers)
    response.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    response.content_length = sum(map(len, heads)) + sum(part.length for part in ranges) + len(end)
    for head, part in zip(heads, ranges, strict=True):
        async with _reading(blob, part) as source:
            if not call.begun:
                call.begun = True
                await response.prepare(call.request)
            await response.write(head)
            await _send_range(call, response, source, part)
    await response.write(end)
    await response.write_eof()
    return response


def _part_head(boundary: str, content_type: str, content_range: str) -> bytes:
    return f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n".encode()


@asynccontextmanager
async def _reading(blob: BlobFile | BlobStream, wanted: ByteRange) -> AsyncIterator[BlobFile | AsyncIterator[bytes]]:
    """The file, or the chunks of a stream; its first one has arrived by then, so a failure can still be told."""
    if isinstance(blob, BlobFile):
        yield blob
        return
    async with reading(blob.read(wanted.start, wanted.stop)) as chunks:
        first = await anext(chunks, b"")
        yield _after(first, chunks)


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _send_range(
    call: Call, response: web.StreamResponse, source: BlobFile | AsyncIterator[bytes], wanted: ByteRange
) -> None:
    if wanted.length == 0:
        return
    before = call.sent
    if isinstance(source, BlobFile) and call.request.secure:
        await _send_file_encrypted(call, response, source, wanted)
    elif isinstance(source, BlobFile):
        await _send_file(call, source, wanted)
    else:
        async for chunk in source:
            await response.write(chunk)
            call.sent += len(chunk)
    if call.sent - before < wanted.length:
        log.error("blob is damaged: it is too short, the transfer was cut", id=call.id, sent=call.sent - before)
        raise ConnectionResetError("there are fewer bytes than the blob has")


async def _send_file(call: Call, blob: BlobFile, wanted: ByteRange) -> None:
    async with SocketOutlet(call.request.transport, call.request.writer.drain) as outlet:
        position = wanted.start
        while position < wanted.stop:
            stop = min(position + _SLICE, wanted.stop)
            sent = await outlet.send(blob.fd, position, stop)
            call.sent += sent
            position += sent
            if position < stop:
                return


async def _send_file_encrypted(call: Call, response: web.StreamResponse, blob: BlobFile, wanted: ByteRange) -> None:
    """Through our own memory, as the kernel has no keys; a thread reads, since a page may have to come from the disk.

    The next piece is read when the client has taken most of this one: a slow client holds one, not two.
    """
    loop = asyncio.get_running_loop()
    position = wanted.start
    while position < wanted.stop:
        chunk = await loop.run_in_executor(None, os.pread, blob.fd, min(_READ, wanted.stop - position), position)
        if not chunk:
            return
        await response.write(chunk)
        call.sent += len(chunk)
        position += len(chunk)
