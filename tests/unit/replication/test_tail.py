"""The newest events, read once for all who follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from registry.errors import StorageFailure, Unavailable
from replication.tail import Tail
from tests.unit.replication.logs import MemoryLog

EVERY = 0.001


class Commits:
    value = 0

    def __call__(self) -> int:
        return self.value


@pytest.fixture
async def log() -> MemoryLog:
    log = MemoryLog()
    log.append(5)
    return log


@pytest.fixture
async def tail(log: MemoryLog) -> AsyncIterator[Tail]:
    tail = Tail(log, EVERY)
    async with tail.followed():
        await tail.wait(4, 5.0)
        yield tail


def serials(tail: Tail, after: int) -> list[int] | None:
    kept = tail.after(after)
    return None if kept is None else [serial for serial, _ in kept]


async def test_what_comes_is_kept_for_all(log: MemoryLog, tail: Tail) -> None:
    assert serials(tail, 5) == []
    assert serials(tail, 4) is None
    waiting = [asyncio.create_task(tail.wait(5, 5.0)) for _ in range(3)]
    log.append(3)
    assert await asyncio.gather(*waiting) == [True] * 3
    assert serials(tail, 5) == [6, 7, 8]
    assert serials(tail, 7) == [8]
    assert serials(tail, 8) == []


async def test_nothing_comes(tail: Tail) -> None:
    assert not await tail.wait(5, 0.05)


async def test_one_who_has_more_than_there_is_waits(log: MemoryLog, tail: Tail) -> None:
    assert serials(tail, 9) == []
    assert not await tail.wait(9, 0.05)


async def test_old_events_are_let_go(log: MemoryLog, tail: Tail) -> None:
    log.append(20, content=bytes(1024 * 1024))
    assert await tail.wait(24, 5.0)
    assert serials(tail, 5) is None
    assert serials(tail, 23) == [24, 25]
    kept = tail.after(24)
    assert kept is not None
    assert sum(len(line) for _, line in kept) > 1024 * 1024


async def test_the_log_is_read_only_after_a_commit(log: MemoryLog) -> None:
    commits = Commits()
    tail = Tail(log, EVERY, commits)
    async with tail.followed():
        assert await tail.wait(4, 5.0)
        reads = log.reads
        log.append()
        assert not await tail.wait(5, 0.05)
        assert log.reads == reads
        commits.value += 1
        assert await tail.wait(5, 5.0)


async def test_nobody_looks_while_nobody_follows(log: MemoryLog) -> None:
    tail = Tail(log, EVERY)
    async with tail.followed(), tail.followed():
        assert await tail.wait(0, 5.0)
    await asyncio.sleep(EVERY * 5)
    reads = log.reads
    log.append()
    await asyncio.sleep(EVERY * 20)
    assert log.reads == reads
    async with tail.followed():
        assert await tail.wait(5, 5.0)
        assert serials(tail, 5) is None, "it begins where the log ends by then"


async def test_what_keeps_the_log_from_being_read_is_told_and_passes(log: MemoryLog, tail: Tail) -> None:
    log.failure = Unavailable("the database is away")
    with pytest.raises(Unavailable):
        await tail.wait(5, 5.0)
    log.failure = None
    log.append()
    for _ in range(3):
        try:
            assert await tail.wait(5, 5.0)
            break
        except Unavailable:  # of a look that had begun before
            continue


async def test_a_gap_is_never_passed_over(log: MemoryLog, tail: Tail) -> None:
    log.append(3)
    del log.known[5]
    with pytest.raises(StorageFailure):
        await tail.wait(7, 5.0)
