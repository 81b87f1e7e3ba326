"""Messages: there and back, what a later version has, and what is none of the protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest

from registry.domain.events import CHAIN_START, JournalEvent, link, verify
from replication import wire
from replication.wire import LONGEST_LINE, Line, Position, Unreadable

AT = Position(7, 1, "ab" * 32)
LINES: Sequence[Line] = (
    wire.Hello(1, "shoal 0.1.0", AT),
    wire.Heartbeat(7, 1000.25),
    wire.Record("grant", "@devs team/**", '{"subject":"@devs"}'),
    wire.Manifest("team/app", "sha256:00", "application/x", "e30="),
    wire.Tag("team/app", "v1", "sha256:00"),
    wire.RepositoryEnd("team/app"),
    wire.SnapshotEnd(AT),
)


def event(serial: int, previous: bytes, time: float, content: bytes) -> JournalEvent:
    fields = (serial, 1, time, "manifest.put", "team/app", b'{"digest":"\xc3\xa4"}', content)
    return JournalEvent(*fields, link(previous, *fields))


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_there_and_back(line: Line) -> None:
    sent = wire.encode(line)
    assert sent.endswith(b"\n")
    assert sent.count(b"\n") == 1
    assert wire.decode(sent) == line


def test_many_at_once_are_the_same_as_one_after_the_other() -> None:
    assert wire.encode_all(LINES) == b"".join(map(wire.encode, LINES))
    assert wire.encode_all([]) == b""


@pytest.mark.parametrize("time", [0.1 + 0.2, 1764039017.1234567, 0.0, 1e-7, 1e22])
def test_the_chain_holds_on_the_other_side(time: float) -> None:
    """Every field comes over as it was, the time to its last bit and content that is no text, too."""
    sent = event(1, CHAIN_START, time, bytes(range(256)))
    line = wire.decode(wire.encode(wire.Event.of(sent)))
    assert isinstance(line, wire.Event)
    assert line.to_journal() == sent
    assert verify(CHAIN_START, line.to_journal())


def test_what_a_later_version_says_is_passed_over() -> None:
    assert wire.decode(b'{"type":"blob","digest":"sha256:00"}') is None
    more = json.loads(wire.encode(LINES[1])) | {"rate": 3}
    assert wire.decode(json.dumps(more).encode()) == LINES[1]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"null",
        b"[]",
        b"{}",
        b'{"type":5}',
        b"\xff",
        b'{"type":"heartbeat"}',
        b'{"type":"heartbeat","serial":"7","time":1}',
        b'{"type":"event","serial":1}',
        b"HTTP/1.1 200 OK",
    ],
)
def test_what_is_no_line(line: bytes) -> None:
    with pytest.raises(Unreadable):
        wire.decode(line)


async def read(*chunks: bytes) -> list[bytes]:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [line async for line in wire.lines(arriving())]


async def test_lines_that_arrive_in_pieces() -> None:
    assert await read(b"a", b"b\nc", b"\n\n", b"d\ne") == [b"ab", b"c", b"d"]


async def test_what_has_no_end_is_left_out() -> None:
    assert await read(b"a\nb") == [b"a"]
    assert await read() == []


async def test_a_line_without_an_end_fills_no_memory() -> None:
    with pytest.raises(Unreadable):
        await read(*[bytes([97]) * 1024 * 1024] * (LONGEST_LINE // (1024 * 1024) + 1))
