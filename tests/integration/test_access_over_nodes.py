"""Two nodes on one Postgres: what one was told is known to the other at once, and two administrators lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.auth.accounts import AccountService
from registry.auth.keys import KeyRing, KeyRotation, signing_key
from registry.domain.access import Principal
from registry.errors import AccessRefused
from registry.storage.metadata import databases
from registry.storage.metadata.access import CurrentAccess
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.writer import GroupCommitWriter
from tests.contracts.adapters import ManualClock
from tests.harness.postgres import PostgresServer
from tests.unit.auth.nodes import PlainPasswords

pytestmark = pytest.mark.require("postgres")


@dataclass(frozen=True)
class Node:
    access: CurrentAccess
    accounts: AccountService
    keys: KeyRotation
    ring: KeyRing


@asynccontextmanager
async def node_on(url: str, data: Path) -> AsyncIterator[Node]:
    clock, database, commits = ManualClock(), databases.chosen(url, data), CommitCounter.create()
    database.prepare(may_be_new=True)
    reader = database.reader()
    freshness = database.freshness(reader, commits)
    writer = GroupCommitWriter(database.transactions(), commits, clock, lambda _count, _serial: None)
    writer.start()
    access = CurrentAccess(reader, freshness)
    accounts = AccountService(access, writer, PlainPasswords(), clock)
    yield Node(access, accounts, KeyRotation(access, reader, writer, clock, 60.0), KeyRing(reader))
    await writer.stop()
    await freshness.close()
    await reader.close()
    commits.close()


@pytest.fixture
async def nodes(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    url = postgres_server.new_database()
    async with AsyncExitStack() as running:
        one = await running.enter_async_context(node_on(url, tmp_path))
        other = await running.enter_async_context(node_on(url, tmp_path))
        await one.accounts.add_user("alice", "correct horse", is_admin=True)
        yield one, other


async def test_a_change_is_seen_at_once(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    bob = Principal("bob")
    for _ in range(20):
        await one.accounts.grant("bob", "team/**", "pull")
        assert (await other.access.table()).rights(bob, "team/app") == {"pull"}
        await other.accounts.revoke("bob", "team/**")
        assert (await one.access.table()).rights(bob, "team/app") == frozenset()


async def test_more_changes_than_are_read_one_by_one(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    await other.access.table()
    await asyncio.gather(*(one.accounts.grant("bob", f"team/{number}", "pull") for number in range(600)))
    await one.accounts.revoke("bob", "team/7")
    table = await other.access.table()
    assert len(list(table.grants())) == 599
    assert table.rights(Principal("bob"), "team/7") == frozenset()


async def test_keys_of_one_are_the_keys_of_the_other(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    made = await one.keys.rotate()
    table = await other.access.table()
    assert signing_key(table) == made
    assert (await other.ring.signer(table))[0] == made.id
    again = await other.keys.rotate()
    assert signing_key(await one.access.table()) == again


async def test_two_administrators_at_once_lose_nothing(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    names = [f"user-{number}" for number in range(8)]
    for name in names:
        await one.accounts.add_user(name, "correct horse", is_admin=False)
    halves = ((one, names[:4]), (other, names[4:]))

    async def join(node: Node, members: list[str]) -> None:
        for name in members:
            await node.accounts.set_member("devs", name, is_member=True)

    await asyncio.gather(*(join(node, members) for node, members in halves))
    assert sorted((await one.accounts.groups())[0].members) == names


async def test_two_administrators_who_dismiss_each_other_at_once(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    await one.accounts.add_user("bob", "correct horse", is_admin=True)
    done = await asyncio.gather(
        one.accounts.change("bob", is_admin=False),
        other.accounts.change("alice", is_admin=False),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in done if isinstance(outcome, Exception)] == [AccessRefused]
    assert sum(account.is_admin for account in await one.accounts.accounts()) == 1
