"""Answers that go on for as long as a slave listens, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from registry.errors import RegistryError, Unavailable
from replication import wire
from replication.routes import Asked

_PIECE = 256 * 1024
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second one keeps nginx from gathering lines


class LineStream:
    """The lines of one answer."""

    def __init__(self, asked: Asked, response: web.StreamResponse) -> None:
        self._asked = asked
        self.response = response
        self._gathered = bytearray()

    async def add(self, lines: bytes) -> None:
        """One more line, or some; they go out with the next `flush`, or when many have come together."""
        self._gathered += lines
        if len(self._gathered) >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        if self._gathered:
            piece, self._gathered = bytes(self._gathered), bytearray()
            await self.response.write(piece)
            self._asked.count(len(piece))
        # Neither a read of SQLite nor a write to a fast slave suspends: others have to be let in.
        await asyncio.sleep(0)


class Streams:
    """The streams of a process. They end at once when the process does, even one whose slave does not read.

    `look_every`: seconds between two looks whether a slave is welcome still.
    """

    def __init__(self, look_every: float) -> None:
        self._look_every = look_every
        self._under_way: set[asyncio.Timeout] = set()
        self._has_ended = False

    def __len__(self) -> int:
        return len(self._under_way)

    def end(self) -> None:
        self._has_ended = True
        for scope in self._under_way:
            scope.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def answering(self, asked: Asked) -> AsyncIterator[LineStream]:
        """Begins the answer, and ends it after the block, or in the middle of it. Raises Unavailable."""
        if self._has_ended:
            raise Unavailable("the node is stopping")
        response = web.StreamResponse(headers=_HEADERS)
        response.content_type = wire.NDJSON
        await asked.begin(response)
        stream = LineStream(asked, response)
        try:
            async with asyncio.timeout(None) as scope:
                self._under_way.add(scope)
                watching = asyncio.create_task(self._watch(asked, scope))
                try:
                    yield stream
                    await stream.flush()
                finally:
                    watching.cancel()
                    self._under_way.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            await _finish(asked, response)
        else:
            await response.write_eof()

    async def _watch(self, asked: Asked, scope: asyncio.Timeout) -> None:
        """Ends a stream whose slave's token was taken back, or of whom that cannot be told just now."""
        is_welcome = True
        while is_welcome:
            await asyncio.sleep(self._look_every)
            try:
                is_welcome = await asked.is_welcome()
            except RegistryError:
                is_welcome = False
        scope.reschedule(asyncio.get_running_loop().time())


async def _finish(asked: Asked, response: web.StreamResponse) -> None:
    """The end of the body of a stream that was stopped; a slave that has not taken all so far sees a cut."""
    transport = asked.request.transport
    if transport is None or transport.get_write_buffer_size() > 0:
        if transport is not None:
            transport.abort()
        raise ConnectionResetError("the stream was stopped while its slave did not read")
    await response.write_eof()
