"""What a node remembers of slaves, and what it makes of that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.domain.events import CHAIN_START, JournalEvent
from registry.ports.replication import LogPosition
from registry.ports.slaves import SlaveReport
from registry.services.slaves import SlaveService
from replication.slaves import FORGOTTEN_AFTER, MOST, HeardSlaves
from tests.contracts.adapters import ManualClock
from tests.unit.replication.logs import MemoryLog

EU = SlaveReport("eu", "10.0.0.1", 5, 4, 1, 1000, "follows", "", 100.0, 100.0)


async def test_the_last_report_counts_and_the_first_time() -> None:
    slaves = HeardSlaves(ManualClock(200.0))
    await slaves.report(EU)
    later = replace(EU, visible=5, since=150.0, heard=150.0)
    await slaves.report(later)
    (kept,) = await slaves.slaves()
    assert replace(kept, events_per_second=0.0, bytes_per_second=0.0) == replace(later, since=100.0)


async def test_slaves_are_told_apart_by_name_and_address() -> None:
    slaves = HeardSlaves(ManualClock(200.0))
    others = [replace(EU, address="10.0.0.2"), replace(EU, name="asia")]
    for report in (EU, *others):
        await slaves.report(report)
    assert await slaves.slaves() == [others[1], EU, others[0]]


async def test_who_is_not_heard_is_forgotten() -> None:
    clock = ManualClock(100.0)
    slaves = HeardSlaves(clock)
    await slaves.report(EU)
    clock.advance(FORGOTTEN_AFTER)
    assert await slaves.slaves() == [EU]
    clock.advance(1.0)
    assert await slaves.slaves() == []


async def test_invented_slaves_fill_no_memory() -> None:
    slaves = HeardSlaves(ManualClock(200.0))
    for number in range(MOST):
        await slaves.report(replace(EU, name=f"n{number}"))
    await slaves.report(replace(EU, name="n0"))  # heard again
    await slaves.report(replace(EU, name="new"))
    names = {report.name for report in await slaves.slaves()}
    assert len(names) == MOST
    assert {"n0", "new", "n2"} <= names
    assert "n1" not in names


async def test_how_far_a_slave_is_behind() -> None:
    clock = ManualClock(1000.0)
    log = MemoryLog(JournalEvent(serial, 1, 900.0 + serial, "tag.set", "a", b"{}", b"", b"") for serial in range(1, 9))
    slaves = HeardSlaves(clock)
    for report in (EU, replace(EU, name="whole", visible=8), replace(EU, name="ahead", visible=9)):
        await slaves.report(report)
    ahead, eu, whole = await SlaveService(slaves, log, clock).statuses()
    assert (eu.lag_events, eu.lag_seconds, eu.heard_ago) == (4, 1000.0 - 905.0, 900.0)
    assert (whole.lag_events, whole.lag_seconds) == (0, 0.0)
    assert (ahead.lag_events, ahead.lag_seconds) == (0, 0.0)


async def test_a_lag_that_is_older_than_the_log() -> None:
    clock = ManualClock(1000.0)
    log = MemoryLog([JournalEvent(8, 1, 990.0, "tag.set", "a", b"{}", b"", b"")])
    slaves = HeardSlaves(clock)
    await slaves.report(EU)
    (status,) = await SlaveService(slaves, log, clock).statuses()
    assert (status.lag_events, status.lag_seconds) == (4, 900.0)


async def test_without_slaves_nobody_reads_the_log() -> None:
    log = MemoryLog()
    assert await SlaveService(HeardSlaves(ManualClock()), log, ManualClock()).statuses() == []
    assert log.reads == 0
    assert await log.log_position() == LogPosition(0, 1, CHAIN_START)


async def test_how_fast_a_slave_is_and_when_it_is_through() -> None:
    clock = ManualClock(100.0)
    log = MemoryLog()
    log.append(200)
    slaves = HeardSlaves(clock)
    for second in range(60):
        report = replace(EU, visible=second, missing=0, fetched=1000 * second, heard=100.0 + second)
        await slaves.report(report)
    (status,) = await SlaveService(slaves, log, clock).statuses()
    assert status.report.events_per_second == pytest.approx(1.0, rel=0.01)
    assert status.report.bytes_per_second == pytest.approx(1000.0, rel=0.01)
    assert status.ready_in == pytest.approx(141.0, rel=0.01)
    assert replace(status, report=replace(status.report, missing=5000)).ready_in == pytest.approx(5.0, rel=0.01)
    assert replace(status, report=replace(EU, missing=0)).ready_in is None
    assert replace(status, lag_events=0).ready_in == 0.0
