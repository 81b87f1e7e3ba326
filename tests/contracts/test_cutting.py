"""Cutting a log, in each database."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from registry.domain.access import Group, encode, key_of, kind_of
from registry.domain.changes import CutLog, KeepEvents, SetRecord
from registry.domain.events import CHAIN_START, JournalEvent, link, verify
from registry.domain.replica import Upstream
from registry.errors import Unavailable
from registry.ports import Changes
from registry.storage.metadata.feed import SqlFeed, SqlSlaveFeed
from registry.storage.metadata.inventory import SqlInventory
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.replica_reader import SqlReplicaReader
from tests.contracts.conftest import Database


@dataclass
class Node:
    changes: Changes
    shown: SqlReader
    own: SqlFeed
    above: SqlSlaveFeed
    kept: SqlReplicaReader
    inventory: SqlInventory

    async def change(self, count: int) -> None:
        for number in range(count):
            group = Group(f"g{number}", ())
            await self.changes.submit(SetRecord(kind_of(group), key_of(group), encode(group)))


@pytest.fixture
def node(database: Database) -> Node:
    rows, shown = database.rows, SqlReader(database.rows)
    return Node(
        database.changes, shown, SqlFeed(rows), SqlSlaveFeed(rows), SqlReplicaReader(rows, shown), SqlInventory(rows)
    )


async def test_the_oldest_go_some_at_a_time(node: Node) -> None:
    await node.change(9)  # the first event begins the epoch
    last = await node.own.log_event(6)
    assert last is not None
    portions = [(await node.changes.submit(CutLog(7, 4))).changed for _ in range(3)]
    assert portions == [True, True, False]
    assert [event.serial for event in await node.own.log_events(0, 100)] == [7, 8, 9, 10]
    assert await node.inventory.journal_base() == (6, last.chain)
    first = await node.own.log_event(7)
    assert first is not None
    assert verify(last.chain, first)


async def test_the_last_event_stays(node: Node) -> None:
    await node.change(3)
    await node.changes.submit(CutLog(1000, 1000))
    assert [event.serial for event in await node.own.log_events(0, 100)] == [4]
    await node.change(0)
    group = Group("new", ())
    await node.changes.submit(SetRecord(kind_of(group), key_of(group), encode(group)))
    assert (await node.own.log_position()).serial == 5


async def test_a_cache_hears_that_it_missed_something(node: Node) -> None:
    await node.change(9)
    assert await node.shown.changed_repositories(5) == {""}
    assert len(await node.shown.record_changes(5, 100) or ()) == 5
    await node.changes.submit(CutLog(7, 1000))
    assert await node.shown.changed_repositories(5) is None
    assert await node.shown.record_changes(5, 100) is None
    assert await node.shown.changed_repositories(6) == {""}
    assert len(await node.shown.record_changes(6, 100) or ()) == 4


async def test_the_log_above(node: Node) -> None:
    chain, made = CHAIN_START, []
    for serial in range(1, 11):
        fields = (serial, 1, 5.0, "auth.group", "", json.dumps({"key": "g", "value": ""}).encode(), b"")
        chain = link(chain, *fields)
        made.append(JournalEvent(*fields, chain))
    await node.changes.submit(KeepEvents(tuple(made[:9]), Upstream("m", 9, 1, made[8].chain.hex())))
    assert (await node.changes.submit(CutLog(6, 100, of_upstream=True))).changed
    assert [event.serial for event in await node.above.log_events(0, 100)] == [6, 7, 8, 9]
    # whoever follows has read the place before, and says it again
    await node.changes.submit(KeepEvents(tuple(made[9:]), Upstream("m", 10, 1, made[9].chain.hex())))
    kept = await node.kept.upstream()
    assert kept is not None
    assert (kept.serial, kept.base_serial, kept.base_chain) == (10, 5, made[4].chain.hex())
    before = await node.above.log_event(5)
    assert before is not None
    assert before.chain == made[4].chain
    assert await node.above.log_event(4) is None


async def test_nothing_to_cut(node: Node) -> None:
    assert not (await node.changes.submit(CutLog(5, 100, of_upstream=True))).changed
    with pytest.raises(Unavailable):
        await node.above.log_position()
