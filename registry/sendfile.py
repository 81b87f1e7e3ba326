"""File to socket inside the kernel, without holding up the event loop.

asyncio's own sendfile runs on the loop: there, one page that has to come from the disk stops every
client, and one core has to do the copying for all. Here a thread makes each call, and the loop waits
for the socket to take more. The thread works on a duplicate of the descriptor, so that it cannot write
to somebody else's connection when this one is closed meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import Self

_SLICE = 8 * 1024 * 1024
_SMALL = 64 * 1024
_CONNECTION_LOST = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN})


class SocketOutlet:
    """The sending side of a connection, taken over after the head of a message was written.

    `drain` waits while the transport holds more bytes than it should. Not for TLS: the kernel has no keys.
    """

    def __init__(self, transport: asyncio.Transport | None, drain: Callable[[], Awaitable[None]]) -> None:
        """Raises ConnectionResetError where there is no connection any more."""
        if transport is None:
            raise ConnectionResetError("the other side has gone")
        self._transport = transport
        self._drain = drain
        self._socket = -1

    async def __aenter__(self) -> Self:
        await self._empty()
        if self._transport.is_closing():
            raise ConnectionResetError("the other side has gone")
        self._socket = os.dup(self._transport.get_extra_info("socket").fileno())
        return self

    async def __aexit__(self, *_: object) -> None:
        os.close(self._socket)

    async def _empty(self) -> None:
        """Wait until what the transport buffered has gone to the kernel: our bytes come after it."""
        self._transport.set_write_buffer_limits(high=0)
        try:
            await self._drain()
        finally:
            self._transport.set_write_buffer_limits()

    async def send(self, file: int, start: int, stop: int) -> int:
        """Send the bytes from `start` to before `stop`; returns how many, fewer where the file ends before.

        Raises ConnectionError where the other side has gone, OSError where the file cannot be read.
        """
        loop = asyncio.get_running_loop()
        position = start
        while position < stop:
            size = min(_SLICE, stop - position)
            if size <= _SMALL:
                sent = self._send_some(file, position, size)
            else:
                sent = await self._send_in_thread(loop, file, position, size)
            if sent is None:
                await self._writable(loop)
            elif sent == 0:
                break
            else:
                position += sent
        return position - start

    async def _send_in_thread(self, loop: asyncio.AbstractEventLoop, file: int, position: int, size: int) -> int | None:
        sending = loop.run_in_executor(None, self._send_some, file, position, size)
        try:
            return await asyncio.shield(sending)
        finally:
            if not sending.done():  # cancelled: the descriptors must outlive the call, which is a short one
                await asyncio.wait([sending])

    def _send_some(self, file: int, position: int, size: int) -> int | None:
        """One call of sendfile(2); None where the socket is full."""
        try:
            return os.sendfile(self._socket, file, position, size)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _CONNECTION_LOST:
                raise ConnectionResetError(error.errno, "the other side has gone") from error
            raise

    async def _writable(self, loop: asyncio.AbstractEventLoop) -> None:
        ready = asyncio.Event()
        loop.add_writer(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._socket)
