"""What travels between a master and its slaves: version 1 of the protocol under /_replication/v1.

Streams are lines of JSON (NDJSON), each an object with its `type`. A reader passes over types and fields that it does
not know, so that a master and a slave one version apart work together. docs/replication.md describes each message.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence

import msgspec
from msgspec import Struct

from registry.domain.events import JournalEvent
from registry.domain.succession import Claim

BASE = "/_replication/v1"
NDJSON = "application/x-ndjson"
VERSION = 1
LONGEST_LINE = 8 * 1024 * 1024
"""Bytes; a manifest has at most 4 MiB, which base64 makes a third longer."""
HEARTBEAT = 5.0
"""Seconds after which a stream that has nothing to say says so."""
MOST_BEHIND = 100
"""Repositories that a report names."""


class Position(Struct, frozen=True):
    """A place in the log: the event that was last, its epoch and its chain (hexadecimal)."""

    serial: int
    epoch: int
    chain: str


class Hello(Struct, frozen=True, tag_field="type", tag="hello", omit_defaults=True):
    """The first line of each stream: who answers, and the end of its log.

    For a slave of some repositories the position is its own in its own log, and `cursor` says to us where that is.
    """

    version: int
    registry: str
    position: Position
    cursor: str = ""


class Event(Struct, frozen=True, tag_field="type", tag="event", omit_defaults=True):
    """One event of the journal (registry.domain.events), with what its chain is made over."""

    serial: int
    epoch: int
    time: float
    kind: str
    repository: str
    payload: str
    content: str
    chain: str
    cursor: str = ""

    @classmethod
    def of(cls, event: JournalEvent) -> Event:
        return cls(
            event.serial,
            event.epoch,
            event.time,
            event.kind,
            event.repository,
            event.payload.decode(),
            base64.b64encode(event.content).decode(),
            event.chain.hex(),
        )

    def to_journal(self) -> JournalEvent:
        """Raises ValueError where its content or its chain cannot be read."""
        return JournalEvent(
            self.serial,
            self.epoch,
            self.time,
            self.kind,
            self.repository,
            self.payload.encode(),
            base64.b64decode(self.content, validate=True),
            bytes.fromhex(self.chain),
        )


class Heartbeat(Struct, frozen=True, tag_field="type", tag="heartbeat", omit_defaults=True):
    """Nothing happened; `serial` is the end of the log, `time` the clock of who answers."""

    serial: int
    time: float
    cursor: str = ""


class Record(Struct, frozen=True, tag_field="type", tag="record"):
    """In a snapshot: a record of accounts, groups, grants, public keys or limits."""

    kind: str
    key: str
    value: str


class RecordsEnd(Struct, frozen=True, tag_field="type", tag="records.end"):
    """In the log of a slave of some repositories: the records since the last line of another type are all that there
    are; others are gone."""


class Manifest(Struct, frozen=True, tag_field="type", tag="manifest"):
    """In a snapshot: a manifest of a repository. All manifests of a repository come before its tags."""

    repository: str
    digest: str
    media_type: str
    content: str


class Tag(Struct, frozen=True, tag_field="type", tag="tag"):
    """In a snapshot: a tag of a repository."""

    repository: str
    name: str
    digest: str


class RepositoryEnd(Struct, frozen=True, tag_field="type", tag="repository.end"):
    """In a snapshot: all of this repository was said. A snapshot that broke off goes on after it."""

    repository: str


class SnapshotEnd(Struct, frozen=True, tag_field="type", tag="snapshot.end", omit_defaults=True):
    """The snapshot is whole; what it says is of some moment between its Hello and this position."""

    position: Position
    cursor: str = ""


Line = Hello | Event | Heartbeat | Record | RecordsEnd | Manifest | Tag | RepositoryEnd | SnapshotEnd

_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


class Unreadable(ValueError):
    """A line that is none of this protocol."""


def encode(line: Line) -> bytes:
    return _encoder.encode(line) + b"\n"


def encode_all(lines: Sequence[Line]) -> bytes:
    """Many lines at once, which costs a third of one after the other."""
    return _encoder.encode_lines(lines)


def decode(line: bytes) -> Line | None:
    """None for a type of line that a later version has. Raises Unreadable."""
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        if _is_unknown(line):
            return None
        raise Unreadable(str(error)[:200]) from error
    except msgspec.DecodeError as error:
        raise Unreadable(str(error)[:200]) from error


class _Typed(Struct):
    type: str


_KNOWN = {
    kind.__struct_config__.tag
    for kind in (Hello, Event, Heartbeat, Record, RecordsEnd, Manifest, Tag, RepositoryEnd, SnapshotEnd)
}


def _is_unknown(line: bytes) -> bool:
    try:
        return msgspec.json.decode(line, type=_Typed).type not in _KNOWN
    except msgspec.ValidationError:
        return False


class Ack(Struct, frozen=True):
    """What a slave tells its master now and then (POST ack): how far it is, and how it goes.

    `stored`: the last serial that it has; `visible`: all events up to this serial are visible; `waiting`: how many are
    not; `missing`: bytes of blobs that they wait for; `error`: what went wrong last, "" where nothing does.
    `cursor`: of a slave of some repositories, that of the event `stored`.
    `behind`: of the `behind_total` repositories that wait, those that have waited longest, each with the serial of its
    first event that waits, in the order of those; null where that is not known. `drift`: items that were found to
    differ from what is above, and were healed; `fetched`: bytes of blobs that came; both since the slave's start.
    """

    stored: int
    visible: int
    waiting: int = 0
    missing: int = 0
    state: str = ""
    error: str = ""
    cursor: str = ""
    behind: list[tuple[str, int]] | None = None
    behind_total: int = 0
    drift: int = 0
    fetched: int = 0


class RepositoryState(Struct, frozen=True):
    """The sum (replication.sums, hexadecimal) of a repository as it was at the event `serial`.

    "" where the repository changed all the while that it was read.
    """

    repository: str
    serial: int
    sum: str


class State(Struct, frozen=True):
    """Some repositories in order (GET state); `last`: the next ones are asked for with ?after=, "" at the end."""

    repositories: list[RepositoryState]
    last: str = ""


class Epoch(Struct, frozen=True):
    """Where a node's log is (GET epoch). `writes`: whether the node takes changes; `id`: of the epoch; `promotion`:
    whether the epoch began as a slave took the place of its master; `serial`: the end of the log."""

    number: int
    id: str
    serial: int
    writes: bool
    promotion: bool = False


class HandOver(Struct, frozen=True):
    """A master is to take nothing for so many seconds, as a slave is about to take its place (POST handover); 0: it
    takes pushes again."""

    seconds: float


class Takeover(Struct, frozen=True):
    """In a Fork: the epoch after that of the slave began after the event `after`, with that chain, as another node took
    the place of the master."""

    after: int
    chain: str
    number: int
    id: str


class Fork(Struct, frozen=True):
    """Why a slave cannot follow the log from where it is: the `detail` of the answer 409."""

    after: int
    in_common_at_most: int
    head: int
    epoch: int
    takeover: Takeover | None = None


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines of a stream; what has no end at its end is left out. Raises Unreadable where one is too long."""
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        if b"\n" not in chunk:
            if len(rest) > LONGEST_LINE:
                raise Unreadable("a line is too long")
            continue
        *whole, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        for line in whole:
            if line:
                yield line


def encode_one(body: Ack | HandOver | Claim) -> bytes:
    """What a slave sends in the body of a request."""
    return _encoder.encode(body)
