"""The connection that reads the head of the database, over a real server that loses it in every way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from registry.errors import StorageFailure, Unavailable
from registry.storage.metadata import postgres
from registry.storage.metadata.postgres_head import HeadConnection
from tests.harness.postgres import PostgresServer
from tests.harness.server import free_port

pytestmark = pytest.mark.require("postgres")


@pytest.fixture
def database(postgres_server: PostgresServer, tmp_path: Path) -> str:
    url = postgres_server.new_database()
    postgres.prepare(postgres.parse(url), str(tmp_path))
    return url


@pytest.fixture
async def head(database: str) -> AsyncIterator[HeadConnection]:
    connection = HeadConnection(postgres.parse(database))
    yield connection
    await connection.close()


def move_to(url: str, serial: int, unlinks: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE head SET serial = %s, unlinks = %s", (serial, unlinks))


async def test_each_read_sees_what_was_committed_before_it(head: HeadConnection, database: str) -> None:
    for number in range(20):
        move_to(database, number, 2**40 + number)
        assert await head.read() == (number, 2**40 + number)


async def test_a_connection_that_was_ended_is_made_anew(head: HeadConnection, database: str) -> None:
    await head.read()
    with psycopg.connect(database, autocommit=True) as other:
        for _ in range(3):
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT serial%'")
            await asyncio.sleep(0.05)  # so that the end is noticed while nobody asks, too
            move_to(database, 7, 0)
            assert await head.read() == (7, 0)


async def test_a_read_that_was_given_up_leaves_no_answer_for_the_next(head: HeadConnection, database: str) -> None:
    move_to(database, 1, 0)
    await head.read()
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE head IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await head.read()
        other.execute("UPDATE head SET serial = 2")
    assert await head.read() == (2, 0)


async def test_a_server_that_is_not_there_is_told_as_such() -> None:
    connection = HeadConnection(postgres.parse(f"postgresql://shoal@127.0.0.1:{free_port()}/shoal"))
    with pytest.raises(Unavailable):
        await connection.read()


async def test_a_database_that_has_no_head(head: HeadConnection, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("DELETE FROM head")
        with pytest.raises(StorageFailure, match="no head"):
            await head.read()
        other.execute("DROP TABLE head")
        with pytest.raises(StorageFailure, match="the database failed"):
            await head.read()
        other.execute("CREATE TABLE head AS SELECT 3 AS serial, 4 AS unlinks")
    assert await head.read() == (3, 4)
