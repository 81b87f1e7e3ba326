"""The way in for TLS: a connection is the listener's once its handshake is done."""

from __future__ import annotations

import asyncio
import socket
import string
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import structlog

from registry.http.server import Listener
from registry.processes.tls import Tls

log = structlog.get_logger(__name__)

_HANDSHAKE = 10.0  # seconds, from the connection to the end of the handshake
_TLS_HANDSHAKE = 22  # the first byte of every connection (RFC 8446, section 5.1)
_ROOM_AGAIN = 1.0  # seconds
_TELL_EVERY = 10.0  # seconds between two lines of the log
_UNREAD = 64 * 1024
_PLAIN = b"This port speaks HTTPS: write https:// in place of http://\n"
_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PLAIN), _PLAIN)
)


class TlsDoor:
    """Accepts from some sockets, greets each client, and gives the connections to `listener`.

    Clients in their handshake count as connections: beyond the listener's bound they are closed at once. asyncio's own
    server takes one context for all its life, does not count them, and cuts who speaks plain HTTP without a word.
    """

    def __init__(self, listener: Listener, tls: Tls, idle_timeout: float, stall_timeout: float) -> None:
        """`stall_timeout`: seconds that a client may leave sent bytes unread. asyncio drops what a closing connection
        has to send yet when the other side's goodbye is that late."""
        self._listener = listener
        self._tls = tls
        self._patience = min(_HANDSHAKE, idle_timeout)
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()
        self._stall_timeout = stall_timeout
        self._failures = _Failures()

    def open(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = list(sockets)
        self._accepting = [asyncio.create_task(self._accept(listening)) for listening in sockets]

    async def close(self) -> None:
        """Take no more connections, and give up those that are in their handshake."""
        tasks = [*self._accepting, *self._greeting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)  # other workers have their share of a burst, and this one its other work
            try:
                connection, _ = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # the client has gone already
            except OSError as error:  # most of all EMFILE
                log.error("no connection can be accepted", error=error.strerror)
                await asyncio.sleep(_ROOM_AGAIN)
                continue
            if self._listener.room <= len(self._greeting):
                connection.close()
                continue
            task = asyncio.create_task(self._greet(connection))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        try:
            with ExitStack() as ours:
                ours.enter_context(connection)
                async with asyncio.timeout_at(deadline):
                    first = await _first_byte(connection)
                if first != _TLS_HANDSHAKE:
                    return await _turn_away(connection, first)
                ours.pop_all()  # the transport closes it from here on
            await loop.connect_accepted_socket(
                self._listener,
                connection,
                ssl=self._tls.context(),
                ssl_handshake_timeout=max(0.1, deadline - loop.time()),
                ssl_shutdown_timeout=self._stall_timeout,
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are such
            self._failures.tell(error)


class _Failures:
    """Handshakes that failed: a line for the first one in a while, and the number of those that were not told."""

    def __init__(self) -> None:
        self._told = -_TELL_EVERY
        self._untold = 0

    def tell(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told < _TELL_EVERY:
            self._untold += 1
            return
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        log.info("a TLS handshake failed", error=reason, more_of_late=self._untold)
        self._told, self._untold = now, 0


async def _first_byte(connection: socket.socket) -> int | None:
    """What the client begins with, which stays unread; None where it closed."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
    try:
        peeked = connection.recv(1, socket.MSG_PEEK)
    except ConnectionError:  # as those do who only look whether the port is open
        return None
    return peeked[0] if peeked else None


async def _turn_away(connection: socket.socket, first: int | None) -> None:
    """Answer a connection that looks like HTTP, and leave any other to be cut."""
    if first is None or first not in string.ascii_uppercase.encode():
        return
    with suppress(OSError):
        connection.recv(_UNREAD)  # bytes that are unread at the end would reset the connection, and the answer with it
        connection.send(_PLAIN_ANSWER)
        connection.shutdown(socket.SHUT_WR)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(1.0):
            while await loop.sock_recv(connection, _UNREAD):
                pass
