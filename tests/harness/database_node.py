"""What a node has of the database: a writer, a reader, and a reader with a cache; without HTTP around it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.domain import events
from registry.domain import manifest as manifests
from registry.domain.changes import PutManifest
from registry.domain.events import JournalEvent
from registry.storage.metadata import databases
from registry.storage.metadata.cache import CachedReader
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.writer import GroupCommitWriter

REPOSITORY = "team/app"


@dataclass(frozen=True)
class DatabaseNode:
    """`commits`: how many changes each of its commits held."""

    changes: GroupCommitWriter
    reader: SqlReader
    cached: CachedReader
    commits: list[int]


@asynccontextmanager
async def database_node(url: str, data: Path = Path("/nonexistent")) -> AsyncIterator[DatabaseNode]:
    database = databases.chosen(url, data)
    database.prepare(may_be_new=True)
    counter, commits = CommitCounter.create(), list[int]()
    changes = GroupCommitWriter(
        database.transactions(), counter, lambda: 1.5, lambda count, _serial: commits.append(count)
    )
    reader = database.reader()
    cached = CachedReader(reader, database.freshness(reader, counter), 1024 * 1024)
    changes.start()
    try:
        yield DatabaseNode(changes, reader, cached, commits)
    finally:
        await changes.stop()
        await cached.close()
        counter.close()


def manifest(number: int) -> bytes:
    return b'{"number": %d}' % number


def put(number: int, *tags: str) -> PutManifest:
    """A manifest that no other number has."""
    parsed = manifests.parse(manifest(number), "application/vnd.example+json", "sha256")
    return PutManifest(REPOSITORY, parsed, tags)


async def whole_journal(reader: SqlReader) -> Sequence[JournalEvent]:
    """All events; asserts that serials have no gaps and that the chain holds."""
    found = await reader.events(0, 1_000_000)
    assert [event.serial for event in found] == list(range(1, len(found) + 1))
    chain = events.CHAIN_START
    for event in found:
        assert events.verify(chain, event)
        chain = event.chain
    return found


def numbers_of(journal: Sequence[JournalEvent]) -> list[int]:
    """The numbers of the manifests that were put, as the journal has them."""
    return [json.loads(event.content)["number"] for event in journal if event.kind == events.MANIFEST_PUT]
