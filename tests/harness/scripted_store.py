"""A store that answers what a test tells it to: for answers that no real store gives on demand.

It speaks just enough HTTP to be read by a client, in the event loop of the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

CRC32_HEADER = "x-amz-checksum-crc32"


@dataclass(frozen=True)
class Reply:
    """An answer. `pieces`: bytes of the body, each sent at once, and seconds to wait between them.

    `reads`: False leaves the body of the request unread, and the client without any answer. `confirms`: whether it
    repeats the CRC-32 of the request.
    """

    status: int = 200
    pieces: tuple[bytes | float, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    reads: bool = True
    confirms: bool = True


@dataclass(frozen=True)
class Asked:
    """A request as it came; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedStore:
    """Use scripted(). Gives `replies` in their order, and the last one again and again."""

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        self._replies = list(replies)
        self.asked: list[Asked] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        method, target, _ = first.split(" ")
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if not reply.reads:
            self.asked.append(Asked(method, target, headers, b""))
            await asyncio.Event().wait()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append(Asked(method, target, headers, body))
        crc32 = headers.get(CRC32_HEADER) if reply.confirms else None
        await self._send(writer, reply, method, {CRC32_HEADER: crc32} if crc32 else {})

    async def _send(
        self, writer: asyncio.StreamWriter, reply: Reply, method: str, confirmed: Mapping[str, str]
    ) -> None:
        size = sum(len(piece) for piece in reply.pieces if isinstance(piece, bytes))
        lines = {"Content-Length": str(size), **confirmed, **reply.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {reply.status} Scripted\r\n{head}\r\n".encode())
        for piece in reply.pieces if method != "HEAD" else ():
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
            else:
                await asyncio.sleep(piece)


@asynccontextmanager
async def scripted(*replies: Reply) -> AsyncIterator[ScriptedStore]:
    """Runs a store on a port of 127.0.0.1 until the block ends."""
    store = ScriptedStore(replies)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(store.serve(reader, writer))
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await task
        writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    store.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield store
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
