"""The head of the database, read over a connection of its own: every request waits for this one query.

It goes through psycopg's layer over libpq, psycopg.pq: the cursors above it took three times as long, and that was a
fifth of what a worker does for a cached manifest.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result
from sqlalchemy import URL

from registry.errors import StorageFailure
from registry.storage.metadata.freshness import Head
from registry.storage.metadata.postgres import libpq_arguments, unavailable

_STATEMENT = b"head"
_QUERY = b"SELECT serial, unlinks FROM head"
_PATIENCE = 5.0
_GOOD = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)


class HeadConnection:
    """Reads the head, one read at a time; makes the connection when it is first asked, and anew when it was lost."""

    def __init__(self, url: URL) -> None:
        self._arguments = libpq_arguments(url)
        self._asking: _Asking | None = None

    async def read(self) -> Head:
        """Raises Unavailable, StorageFailure."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._read()
        except (psycopg.OperationalError, TimeoutError) as error:
            await self.close()
            raise unavailable() from error
        except psycopg.Error as error:
            await self.close()  # what was prepared may not fit any more
            raise StorageFailure("the database failed", {"error": str(error)[:200]}) from error

    async def _read(self) -> Head:
        if self._asking is not None:
            try:
                return await self._asking.head()
            except psycopg.OperationalError:
                await self.close()  # the server has started anew, perhaps: the next connection tells
        self._asking = _Asking(await psycopg.AsyncConnection.connect(**self._arguments, autocommit=True))
        await self._asking.prepare()
        return await self._asking.head()

    async def close(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            await asking.close()


class _Asking:
    """A connection that is asked by libpq's own calls. All raise psycopg.Error.

    One question at a time; one whose asker was cancelled leaves its answer behind, so the connection has to be closed.
    """

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[pq.abc.PGresult] | None = None
        self._results: list[pq.abc.PGresult] = []
        self._socket = os.dup(self._libpq.socket)  # libpq closes its own whenever the connection breaks
        self._loop.add_reader(self._socket, self._arrived)

    async def prepare(self) -> None:
        self._libpq.send_prepare(_STATEMENT, _QUERY)
        await self._answered()

    async def head(self) -> Head:
        self._libpq.send_query_prepared(_STATEMENT, None)
        result = await self._answered()
        serial, unlinks = (result.get_value(0, column) for column in range(2)) if result.ntuples else (None, None)
        if serial is None or unlinks is None:
            raise StorageFailure("the database has no head of its journal")
        return int(serial), int(unlinks)

    async def close(self) -> None:
        self._loop.remove_reader(self._socket)
        os.close(self._socket)
        with suppress(psycopg.Error):
            await self._connection.close()

    async def _answered(self) -> pq.abc.PGresult:
        """The answer to what was sent last."""
        self._libpq.flush()
        self._answer = self._loop.create_future()
        return await self._answer

    def _arrived(self) -> None:
        """Some bytes came, or the connection has ended."""
        try:
            self._libpq.consume_input()
            is_whole = self._take_results()
        except psycopg.Error as error:
            self._loop.remove_reader(self._socket)
            self._settle(error)
            return
        if is_whole and self._results:
            failed = next((result for result in self._results if result.status not in _GOOD), None)
            self._settle(self._results[0] if failed is None else error_from_result(failed))
            self._results.clear()

    def _take_results(self) -> bool:
        """Whether the answer to the question has come to its end."""
        while not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                return True
            self._results.append(result)
        return False

    def _settle(self, answer: pq.abc.PGresult | psycopg.Error) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(answer, psycopg.Error):
            self._answer.set_exception(answer)
        else:
            self._answer.set_result(answer)
