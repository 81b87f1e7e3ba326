"""The listener: aiohttp's low-level server with bounds on connections, headers and time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from registry.errors import RequestInvalid, StorageFailure
from registry.http import errors
from registry.http.router import STAY_WITH_HTTPS

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_READ_BUFFER = 256 * 1024
_TCP_USER_TIMEOUT = 18  # linux/tcp.h; milliseconds that sent bytes may stay unacknowledged
_LONGEST_STALL = 2**31 - 1
_GOODBYE = 5.0  # seconds that clients may take to see the end of a connection, once all is answered


class Connection(RequestHandler):
    """One connection. What is no HTTP at all is answered in the registry's own form of an error."""

    def __init__(self, listener: Listener, **settings: Any) -> None:
        super().__init__(listener, **settings)
        self._listener = listener
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._listener.is_full:
            self._refused = True
            cast("asyncio.Transport", transport).abort()
        else:
            super().connection_made(transport)
            assert self._task_handler is not None
            self._task_handler.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Close a connection whose task was ended by a request that aiohttp itself stumbled over."""
        if not task.cancelled() and task.exception() is not None and self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._refused:
            super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):  # the client has gone, or is to see a cut: there is nobody to answer
            raise exc
        if status < 500:
            error = errors.response_of(RequestInvalid((message or "bad request")[:200]))
            error.set_status(status)
        else:
            self.log_exception("request failed", exc_info=exc)
            error = errors.response_of(StorageFailure("an internal error; the log has more"))
        if request.secure:
            error.headers["Strict-Transport-Security"] = STAY_WITH_HTTPS
        error.force_close()
        return error


class Listener(web.Server):
    """Accepts connections and hands each request to `answer`.

    Connections beyond `max_connections` are closed at once. `idle_timeout` (seconds) is how long a
    connection may take for the next whole request head; `stall_timeout` how long a client may leave
    sent bytes unread. `answer` may be replaced while it runs.
    """

    def __init__(self, answer: Answer, max_connections: int, idle_timeout: float, stall_timeout: float) -> None:
        self._handler_settings: dict[str, Any] = {
            "keepalive_timeout": idle_timeout,
            "access_log": None,
            "auto_decompress": False,
            "read_bufsize": _READ_BUFFER,
            "lingering_time": 2.0,
        }
        super().__init__(self._answer, **self._handler_settings)
        self.answer = answer
        self._busy: set[RequestHandler] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._open: set[RequestHandler] = set()
        self._gone = asyncio.Event()
        self._max_connections = max_connections
        self._stall_milliseconds = min(int(stall_timeout * 1000), _LONGEST_STALL)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._busy.add(connection)
        try:
            response = await self.answer(request)
        finally:
            self._busy.discard(connection)
            if self._draining and not self._busy:
                self._idle.set()
        if self._draining:
            response.force_close()
        return response

    async def drain(self, timeout: float) -> None:
        """Close connections as they become idle; after `timeout` seconds close the rest too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self._draining = True
        for connection in self.connections:
            if connection not in self._busy:
                connection.close()
        if self._busy:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout)
        await self.shutdown(1.0)
        # What was written may be on its way yet, in the buffers of connections that are closing.
        if self._open:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, loop.time() + _GOODBYE)):
                    await self._gone.wait()

    @property
    def is_full(self) -> bool:
        return self.room <= 0

    @property
    def room(self) -> int:
        """How many more connections are taken."""
        return self._max_connections - len(self._connections)

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._handler_settings)

    def connection_made(self, handler: RequestHandler, transport: Any) -> None:
        super().connection_made(handler, transport)
        self._open.add(handler)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, self._stall_milliseconds)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._open.discard(handler)
        if self._draining and not self._open:
            self._gone.set()
