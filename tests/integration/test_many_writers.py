"""Several nodes on one Postgres: one order of changes, and what one acknowledged is what all others answer."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from registry.domain.changes import DeleteBlob, DeleteTag, LinkBlob, Outcome
from registry.errors import ManifestUnknown, Unavailable
from tests.harness.content import Blob
from tests.harness.database_node import DatabaseNode, database_node, manifest, numbers_of, put, whole_journal
from tests.harness.postgres import PostgresServer

pytestmark = pytest.mark.require("postgres")

NODES, CLIENTS, CHANGES = 3, 32, 6


async def test_changes_of_all_nodes_come_in_one_order_without_gaps(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()

    async def client(node: DatabaseNode, others: list[DatabaseNode], number: int) -> None:
        for step in range(CHANGES):
            mine = number * CHANGES + step
            assert await node.changes.submit(put(mine, f"tag{number}")) == Outcome()
            for other in others:
                found = await other.cached.manifest_by_tag("team/app", f"tag{number}")
                assert found is not None
                assert found.content == manifest(mine)

    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(database_node(url)) for _ in range(NODES)]
        await asyncio.gather(
            *(client(nodes[number % NODES], nodes, number) for number in range(NODES * CLIENTS)),
        )
        made = numbers_of(await whole_journal(nodes[0].reader))
        assert sorted(made) == list(range(NODES * CLIENTS * CHANGES))
        for node in nodes:
            assert sum(node.commits) == CLIENTS * CHANGES
            assert len(node.commits) < CLIENTS * CHANGES, "changes of several clients have to share a commit"


async def test_what_one_node_acknowledged_every_other_answers_from_then_on(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    blob = Blob(b"needed by nobody")
    async with database_node(url) as one, database_node(url) as other:
        for number in range(30):
            await one.changes.submit(put(number, "latest"))
            for _ in range(2):  # the second answer is from memory
                found = await other.cached.manifest_by_tag("team/app", "latest")
                assert found is not None
                assert found.content == manifest(number)
        await one.changes.submit(LinkBlob("team/app", blob.digest, blob.size))
        assert await other.cached.blob("team/app", blob.digest) is not None
        await one.changes.submit(DeleteBlob("team/app", blob.digest))
        assert await other.cached.blob("team/app", blob.digest) is None
        await other.changes.submit(DeleteTag("team/app", "latest"))
        assert await one.cached.manifest_by_tag("team/app", "latest") is None


async def test_readers_and_writers_of_one_tag_never_see_an_older_answer(postgres_server: PostgresServer) -> None:
    url, done = postgres_server.new_database(), asyncio.Event()
    acknowledged = 0

    async def reads(node: DatabaseNode) -> int:
        count = 0
        while not done.is_set():
            least = acknowledged
            found = await node.cached.manifest_by_tag("team/app", "latest")
            assert found is not None
            assert found.content in {manifest(number) for number in range(least, acknowledged + 2)}
            count += 1
        return count

    async with database_node(url) as one, database_node(url) as other:
        await one.changes.submit(put(0, "latest"))
        readers = [asyncio.create_task(reads(node)) for node in (one, other) for _ in range(8)]
        for number in range(1, 60):
            await one.changes.submit(put(number, "latest"))
            acknowledged = number
        done.set()
        assert all(count > 10 for count in await asyncio.gather(*readers))


async def test_a_refused_change_does_not_fail_those_beside_it(postgres_server: PostgresServer) -> None:
    async with database_node(postgres_server.new_database()) as node:
        answers = await asyncio.gather(
            *(node.changes.submit(DeleteTag("team/app", "absent") if n % 3 == 0 else put(n)) for n in range(60)),
            return_exceptions=True,
        )
        for number, answer in enumerate(answers):
            assert isinstance(answer, ManifestUnknown if number % 3 == 0 else Outcome)
        assert len(numbers_of(await whole_journal(node.reader))) == 40


async def test_a_change_that_postgres_chokes_on_fails_alone(postgres_server: PostgresServer) -> None:
    """What is no text for Postgres aborts the transaction; the others of the batch are made without it."""
    async with database_node(postgres_server.new_database()) as node:
        changes = [put(number, "bad\0tag" if number == 10 else f"tag{number}") for number in range(20)]
        answers = await asyncio.gather(*map(node.changes.submit, changes), return_exceptions=True)
        assert not isinstance(answers.pop(10), Outcome | Unavailable)
        assert answers == [Outcome()] * 19
        assert 10 not in numbers_of(await whole_journal(node.reader))
