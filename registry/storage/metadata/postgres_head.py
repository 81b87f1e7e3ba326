"""The head of the database, read over a connection of its own: every request waits for this one query."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psycopg
from sqlalchemy import URL

from registry.errors import StorageFailure
from registry.storage.metadata.freshness import Head
from registry.storage.metadata.postgres import libpq_arguments, unavailable

_QUERY = "SELECT serial, unlinks FROM head"
_PATIENCE = 5.0


class HeadConnection:
    """Reads the head; makes the connection when it is first asked, and anew when it was lost."""

    def __init__(self, url: URL) -> None:
        self._arguments = libpq_arguments(url)
        self._connection: psycopg.AsyncConnection[tuple[int, int]] | None = None

    async def read(self) -> Head:
        """Raises Unavailable, StorageFailure."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._read()
        except (psycopg.OperationalError, TimeoutError) as error:
            await self.close()
            raise unavailable() from error
        except psycopg.Error as error:
            raise StorageFailure("the database failed", {"error": str(error)[:200]}) from error

    async def _read(self) -> Head:
        if self._connection is not None:
            try:
                return await self._ask(self._connection)
            except psycopg.OperationalError:
                await self.close()  # the server has started anew, perhaps: the next connection tells
        self._connection = await psycopg.AsyncConnection.connect(**self._arguments, autocommit=True)
        self._connection.prepare_threshold = 0
        return await self._ask(self._connection)

    async def _ask(self, connection: psycopg.AsyncConnection[tuple[int, int]]) -> Head:
        row = await (await connection.execute(_QUERY)).fetchone()
        if row is None:
            raise StorageFailure("the database has no head of its journal")
        return row

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                await connection.close()
