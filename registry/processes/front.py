"""The front of a process that serves clients: its sockets, from the first connection to the drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from registry.http.server import Listener
from registry.processes.tls_door import TlsDoor

_BACKLOG = 1024


class Front:
    """Serves one listener on some sockets.

    `shared`: other processes accept from the same sockets. Then each takes one connection at a time, so
    that a burst is spread over all of them. `door`: clients connect by TLS, and not otherwise.
    """

    def __init__(
        self, listener: Listener, sockets: Sequence[socket.socket], door: TlsDoor | None = None, *, shared: bool
    ) -> None:
        self._listener = listener
        self._sockets = sockets
        self._door = door
        self._shared = shared
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        if self._door is not None:
            self._door.open(self._sockets)
            return
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            # asyncio takes up to `backlog` connections at once, and calls listen() with that number too.
            server = await loop.create_server(self._listener, sock=listening, backlog=1 if self._shared else _BACKLOG)
            listening.listen(_BACKLOG)
            self._servers.append(server)

    async def stop(self, drain_timeout: float) -> None:
        """Refuse new connections, and let running requests end within `drain_timeout` seconds."""
        if self._door is not None:
            await self._door.close()
        for server in self._servers:
            server.close()
        await self._listener.drain(drain_timeout)
