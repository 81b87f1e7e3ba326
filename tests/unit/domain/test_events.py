"""The chain of the journal."""

import dataclasses

import pytest

from registry.domain import events
from registry.domain.events import JournalEvent


def chained(count: int) -> list[JournalEvent]:
    found: list[JournalEvent] = []
    chain = events.CHAIN_START
    for serial in range(1, count + 1):
        fields = (serial, 1, 1000.5 + serial, events.TAG_SET, "repo", b'{"tag":"a"}', b"content")
        chain = events.link(chain, *fields)
        found.append(JournalEvent(*fields, chain))
    return found


def test_a_chain_verifies_link_by_link() -> None:
    chain = events.CHAIN_START
    for event in chained(5):
        assert events.verify(chain, event)
        chain = event.chain


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("serial", 4),
        ("epoch", 2),
        ("time", 1003.0),
        ("kind", events.TAG_DELETE),
        ("repository", "other"),
        ("payload", b'{"tag":"b"}'),
        ("content", b""),
        ("chain", bytes(32)),
    ],
)
def test_no_field_can_be_changed(field: str, value: object) -> None:
    before, event = chained(3)[1:]
    changed = dataclasses.replace(event, **{field: value})  # type: ignore[arg-type]
    assert events.verify(before.chain, event)
    assert not events.verify(before.chain, changed)


def test_a_missing_event_shows() -> None:
    first, _, third = chained(3)
    assert not events.verify(first.chain, third)


def test_bytes_cannot_move_from_one_field_to_the_next() -> None:
    one = events.link(events.CHAIN_START, 1, 1, 1.0, "kind", "repo", b"ab", b"c")
    other = events.link(events.CHAIN_START, 1, 1, 1.0, "kind", "repo", b"a", b"bc")
    assert one != other
