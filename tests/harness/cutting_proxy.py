"""A TCP proxy that counts bytes and, where told, cuts or stalls a connection in the middle.

It runs in a thread of its own, so that tests which wait for a client program can use it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

CHUNK = 64 * 1024
Direction = Literal["up", "down"]
Result = TypeVar("Result")


@dataclass
class Fault:
    """What happens to the next `times` connections that carry `after` bytes in one direction."""

    direction: Direction
    after: int
    times: int
    stalls: bool
    released: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Count:
    """Bytes since the last reset, faults that struck, and connections: up is from the client to the server."""

    up: int = 0
    down: int = 0
    struck: int = 0
    connections: int = 0


class CutError(ConnectionError):
    """The proxy cuts this connection on purpose."""

    def __init__(self, direction: Direction) -> None:
        super().__init__(direction)
        self.direction = direction


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Makes the coming close a reset, which a client that still sends tells apart from an orderly end."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class CuttingProxy:
    """Stands in front of 127.0.0.1:`port`; a context manager. `host` is where clients go."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutting proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._refuses = False
        self.count = Count()
        self.host = ""
        self.url = ""

    def cut(self, direction: Direction, after: int, times: int = 1) -> None:
        """Breaks the next `times` connections that carried `after` bytes in this direction.

        What was carried down still arrives before the end; who sends up sees a reset.
        """
        self._faults.append(Fault(direction, after, times, stalls=False))

    def stall(self, direction: Direction, after: int, times: int = 1) -> None:
        """Holds the next `times` connections that carried `after` bytes, until heal()."""
        self._faults.append(Fault(direction, after, times, stalls=True))

    def refuse(self) -> None:
        """Breaks all connections, and takes none until heal()."""
        self._refuses = True
        self._call(self._break())

    async def _break(self) -> None:
        for task in self._tasks:
            task.cancel()

    def heal(self) -> None:
        """Ends all faults; what stalled goes on."""
        self._refuses = False
        faults, self._faults = self._faults, []
        for fault in faults:
            self._loop.call_soon_threadsafe(fault.released.set)

    def reset_count(self) -> None:
        self.count = Count()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(self._listen())
        port = self._server.sockets[0].getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _shut_down(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.count.connections += 1
        if self._refuses:
            to_client.transport.abort()
            return
        try:
            await self._carry(client, to_client)
        except asyncio.CancelledError:
            to_client.transport.abort()

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            to_client.close()
            return
        up = asyncio.create_task(self._pump(client, to_server, "up"))
        down = asyncio.create_task(self._pump(server, to_client, "down"))
        try:
            # One side that broke ends both; one side that only ended its half lets the other go on.
            await asyncio.gather(up, down)
        except CutError as cut:
            if cut.direction == "up":
                _reset_on_close(to_client)
        except ConnectionError:
            pass
        finally:
            up.cancel()
            down.cancel()
            to_client.close()
            to_server.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction) -> None:
        carried = 0
        while data := await source.read(CHUNK):
            fault = self._due(direction, carried + len(data))
            if fault is not None:
                allowed = max(0, fault.after - carried)
                await self._forward(sink, data[:allowed], direction)
                if not fault.stalls:
                    raise CutError(direction)
                await fault.released.wait()
                await self._forward(sink, data[allowed:], direction)
            else:
                await self._forward(sink, data, direction)
            carried += len(data)
        if sink.can_write_eof():
            sink.write_eof()

    async def _forward(self, sink: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
        sink.write(data)
        await sink.drain()
        if direction == "up":
            self.count.up += len(data)
        else:
            self.count.down += len(data)

    def _due(self, direction: Direction, carried: int) -> Fault | None:
        for fault in self._faults:
            if fault.direction == direction and fault.times > 0 and carried > fault.after:
                fault.times -= 1
                self.count.struck += 1
                return fault
        return None
