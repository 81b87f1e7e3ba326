"""The one writer of the database: many changes to a commit."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Connection

from registry.domain import events
from registry.domain import manifest as manifests
from registry.domain.changes import Change, DeleteTag, LinkBlob, Outcome, PutManifest
from registry.errors import ManifestUnknown, StorageFailure
from registry.storage.metadata import journal, sqlite, writer
from registry.storage.metadata.apply import apply
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.writer import GroupCommitWriter
from tests.harness.content import Blob

CLIENTS, CHANGES = 32, 12


@dataclass
class Database:
    """`commits`: how many changes each one held."""

    changes: GroupCommitWriter
    reader: SqlReader
    counter: CommitCounter
    commits: list[int] = field(default_factory=list)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    sqlite.prepare(tmp_path)
    commits: list[int] = []
    counter = CommitCounter.create()
    changes = GroupCommitWriter(
        sqlite.SqliteTransactions(tmp_path),
        counter,
        lambda: 1.5,
        lambda count, _serial: commits.append(count),
    )
    reader = SqlReader(sqlite.LoopRows(tmp_path))
    changes.start()
    yield Database(changes, reader, counter, commits)
    await changes.stop()
    await reader.close()
    counter.close()


def put(number: int, *tags: str) -> PutManifest:
    content = b'{"number": %d}' % number
    return PutManifest("repo", manifests.parse(content, "application/vnd.example+json", "sha256"), tags)


async def test_of_many_clients_every_change_is_made_once_and_in_one_order(database: Database) -> None:
    async def client(number: int) -> None:
        for step in range(CHANGES):
            outcome = await database.changes.submit(put(number * CHANGES + step, f"tag{number}"))
            assert outcome == Outcome()
            found = await database.reader.manifest_by_tag("repo", f"tag{number}")
            assert found is not None
            assert found.content == b'{"number": %d}' % (number * CHANGES + step)

    await asyncio.gather(*map(client, range(CLIENTS)))
    log = await database.reader.events(0, 1_000_000)
    assert [event.serial for event in log] == list(range(1, CLIENTS * CHANGES + 2))
    chain = events.CHAIN_START
    for event in log:
        assert events.verify(chain, event)
        chain = event.chain
    assert sum(database.commits) == CLIENTS * CHANGES
    assert len(database.commits) < CLIENTS * CHANGES / 2, "changes of several clients have to share a commit"
    assert database.counter.value() == len(database.commits)


async def test_a_refused_change_does_not_fail_those_beside_it(database: Database) -> None:
    changes: list[Change] = [
        DeleteTag("repo", "absent") if number % 3 == 0 else put(number, f"tag{number}") for number in range(60)
    ]
    answers = await asyncio.gather(*map(database.changes.submit, changes), return_exceptions=True)
    for number, answer in enumerate(answers):
        assert isinstance(answer, ManifestUnknown if number % 3 == 0 else Outcome)
    assert len(await database.reader.tags("repo", "", 100)) == 40


async def test_a_change_that_the_database_chokes_on_fails_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choke(connection: Connection, change: Change, now: float) -> Outcome:
        outcome = apply(connection, change, now)
        if isinstance(change, LinkBlob):
            raise ValueError("a change nobody foresaw")
        return outcome

    monkeypatch.setattr(writer, "apply", choke)
    blob = Blob(b"x")
    changes: list[Change] = [put(number, f"tag{number}") for number in range(20)]
    changes.insert(10, LinkBlob("repo", blob.digest, blob.size))
    answers = await asyncio.gather(*map(database.changes.submit, changes), return_exceptions=True)
    assert isinstance(answers.pop(10), StorageFailure)
    assert answers == [Outcome()] * 20
    assert await database.reader.blob("repo", blob.digest) is None
    log = await database.reader.events(0, 100)
    assert [event.serial for event in log] == list(range(1, 22))
    chain = events.CHAIN_START
    for event in log:
        assert events.verify(chain, event)
        chain = event.chain


async def test_an_error_that_nobody_foresaw_does_not_end_the_writer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_connection: Connection) -> int:
        raise RuntimeError("nobody foresaw this")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "last_serial", fail)
        with pytest.raises(StorageFailure):
            await asyncio.wait_for(database.changes.submit(put(1, "lost")), 5)
    assert await asyncio.wait_for(database.changes.submit(put(2, "made")), 5) == Outcome()
    assert list(await database.reader.tags("repo", "", 10)) == ["made"]


async def test_a_database_that_cannot_be_opened_is_opened_later(tmp_path: Path) -> None:
    sqlite.prepare(tmp_path)
    file, away = tmp_path / sqlite.FILE_NAME, tmp_path / "away"
    file.rename(away)
    file.mkdir()
    counter = CommitCounter.create()
    changes = GroupCommitWriter(sqlite.SqliteTransactions(tmp_path), counter, lambda: 1.5, lambda *_: None)
    changes.start()
    try:
        with pytest.raises(StorageFailure):
            await asyncio.wait_for(changes.submit(put(1, "lost")), 5)
        file.rmdir()
        away.rename(file)
        assert await asyncio.wait_for(changes.submit(put(2, "made")), 5) == Outcome()
    finally:
        await changes.stop()
        counter.close()


async def test_a_client_that_went_away_does_not_stop_its_change(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def wait(connection: Connection, change: Change, now: float) -> Outcome:
        gate.wait(10)
        return apply(connection, change, now)

    monkeypatch.setattr(writer, "apply", wait)
    gone = asyncio.create_task(database.changes.submit(put(1, "gone")))
    await asyncio.sleep(0.02)
    stays = asyncio.create_task(database.changes.submit(put(2, "stays")))
    await asyncio.sleep(0.02)
    gone.cancel()
    gate.set()
    assert await stays == Outcome()
    assert list(await database.reader.tags("repo", "", 10)) == ["gone", "stays"]


async def test_an_acknowledged_change_is_seen_by_a_new_connection(database: Database, tmp_path: Path) -> None:
    await database.changes.submit(put(1, "latest"))
    fresh = SqlReader(sqlite.LoopRows(tmp_path))
    try:
        assert await fresh.manifest_by_tag("repo", "latest") is not None
    finally:
        await fresh.close()
