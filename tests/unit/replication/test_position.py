"""Whether a slave can follow from where it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from registry.domain.events import CHAIN_START
from registry.errors import LogCutOff, LogForked, RequestInvalid
from replication.position import Known, check, last_of_epoch, parse
from tests.unit.replication.logs import MemoryLog


@pytest.fixture
def log() -> MemoryLog:
    """Twelve events: epoch 1 up to the fourth, 2 up to the seventh, then 4."""
    log = MemoryLog()
    log.append(4)
    log.append(3, epoch=2)
    log.append(5, epoch=4)
    return log


def known(log: MemoryLog, serial: int) -> Known:
    event = log.known[serial - 1]
    return Known(event.serial, event.epoch, event.chain)


async def test_from_any_event_of_the_log(log: MemoryLog) -> None:
    for serial in range(1, 13):
        assert await check(log, known(log, serial)) == await log.log_position()
    assert await check(log, parse({})) == await log.log_position()


@pytest.mark.parametrize(
    ("serial", "changed", "common"),
    [
        (9, {"chain": b"x" * 32}, 8),
        (9, {"epoch": 1}, 4),
        (9, {"epoch": 2}, 7),
        (9, {"epoch": 3}, 7),
        (9, {"epoch": 5}, 8),
        (9, {"epoch": 0}, 0),
        (12, {"serial": 13}, 12),
        (12, {"serial": 0}, 0),
    ],
)
async def test_where_a_fork_is_at_most(log: MemoryLog, serial: int, changed: dict[str, Any], common: int) -> None:
    with pytest.raises(LogForked) as refused:
        await check(log, replace(known(log, serial), **changed))
    assert refused.value.detail["in_common_at_most"] == common
    assert refused.value.detail["head"] == 12


@pytest.mark.parametrize("serial", [0, 1, 2])
async def test_what_was_cut_off(log: MemoryLog, serial: int) -> None:
    """The first three events are gone; the slave who has the third one lacks none."""
    at = [Known(0, 0, CHAIN_START), known(log, 1), known(log, 2), known(log, 3)]
    del log.known[:3]
    with pytest.raises(LogCutOff):
        await check(log, at[serial])


async def test_the_last_event_of_an_epoch(log: MemoryLog) -> None:
    found = [await last_of_epoch(log, epoch, 12) for epoch in range(6)]
    assert found == [0, 4, 7, 7, 12, 12]


def test_a_position_as_it_is_sent() -> None:
    assert parse({"after": "7", "epoch": "2", "chain": "AB" * 32}) == Known(7, 2, b"\xab" * 32)
    assert parse({}) == Known(0, 0, CHAIN_START)


@pytest.mark.parametrize(
    "query",
    [
        {"after": "-1"},
        {"after": ""},
        {"after": "٣"},
        {"after": "1e3"},
        {"after": str(2**63)},
        {"epoch": "x"},
        {"chain": "ab"},
        {"chain": "zz" * 32},
    ],
)
def test_what_is_no_position(query: dict[str, str]) -> None:
    with pytest.raises(RequestInvalid):
        parse(query)
