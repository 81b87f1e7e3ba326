"""Which events stay, and who shows what: decided without I/O."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.ports.replication import LogEntry
from registry.ports.slaves import SlaveReport
from registry.services.log_cut import Kept, first_kept
from registry.services.waiting import LIVE_WITHIN, judge, serial_of

KEPT = Kept(least=100, most=1000)
EU = SlaveReport("eu", "10.0.0.1", 50, 40, 3, 0, "following", "", 0.0, 0.0, (("a", 41), ("b", 45)), 2)


@pytest.mark.parametrize(
    ("head", "needed", "first"),
    [
        (5000, [], 4901),  # nobody needs any: the last 100 stay
        (5000, [4950], 4901),
        (5000, [4500, 4990], 4500),  # the slowest one finds what it has last, and all after it
        (5000, [1], 4001),  # too slow: a snapshot is for that
        (5000, None, 4001),  # nobody knows who there is
        (50, [], -49),
    ],
)
def test_what_stays(head: int, needed: list[int] | None, first: int) -> None:
    assert first_kept(head, needed, KEPT) == first


@given(st.integers(0, 5000), st.lists(st.integers(0, 5000), max_size=4))
def test_a_slave_within_the_cap_loses_nothing(head: int, stored: list[int]) -> None:
    first = first_kept(head, stored, KEPT)
    assert first <= head - KEPT.least + 1
    assert all(first <= serial for serial in stored if serial > head - KEPT.most)


@pytest.mark.parametrize(
    ("repository", "serial", "shows"),
    [("a", 40, True), ("a", 41, False), ("b", 44, True), ("b", 45, False), ("c", 50, True), ("c", 51, False)],
)
def test_a_slave_shows_what_does_not_wait_there(repository: str, serial: int, shows: bool) -> None:
    assert EU.shows(repository, serial) is shows


def test_of_more_than_were_named_only_the_older_events_are_shown() -> None:
    many = replace(EU, behind_total=3)
    assert many.shows("c", 44)
    assert not many.shows("c", 45)
    silent = replace(EU, behind=None)
    assert silent.shows("c", 40)
    assert not silent.shows("c", 41)


def test_who_is_waited_for() -> None:
    slow, gone = replace(EU, name="slow", stored=10, visible=10), replace(EU, name="gone", heard=-LIVE_WITHIN - 1)
    assert judge([EU], "c", 50, None, 0.0).complete
    assert not judge([EU, slow], "c", 50, None, 0.0).complete
    assert judge([EU, slow], "c", 50, None, 0.0).lacks == (slow,)
    assert judge([EU, slow, gone], "c", 50, 1, 0.0).complete
    assert not judge([EU, gone], "c", 50, 2, 0.0).complete
    assert not judge([], "c", 50, None, 0.0).complete, "nobody shows it"


def test_the_last_event_of_a_tag() -> None:
    newest = [
        LogEntry(9, "tag.del", b'{"tag":"old"}'),
        LogEntry(8, "tag.set", b'{"digest":"sha256:2","tag":"v2"}'),
        LogEntry(7, "manifest.put", b'{"digest":"sha256:2","media_type":"","tags":["v1"]}'),
    ]
    assert serial_of(newest, "v2", 20) == 8
    assert serial_of(newest, "v1", 20) == 7
    assert serial_of(newest, "sha256:2", 20) == 7
    assert serial_of(newest, "v0", 20) == 7, "older than what was looked at, or that"
    assert serial_of([], "v0", 20) == 20, "whatever it was, it was not after that"
