"""The log that replicas read, on a master and on a slave, and what a slave keeps of the one above it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.domain.events import JournalEvent
from registry.domain.replica import Orders, Pending, Report, Transfer, Upstream


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The last event of a log: its serial, epoch and chain; serial 0 and CHAIN_START before the first one."""

    serial: int
    epoch: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An event without its content."""

    serial: int
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    digest: str
    media_type: str
    content: bytes


class FeedReader(Protocol):
    """The log as replicas see it: on a master its journal, on a slave the events of the master. All raise
    StorageFailure, Unavailable."""

    async def check_source(self) -> None:
        """Raises Denied where others may not copy from here, as it has some repositories alone."""
        ...

    async def cursor_secret(self) -> bytes:
        """What cursors of slaves of some repositories are made with: random, and in this database alone."""
        ...

    async def repositories_with(self, blob: str, after: str, limit: int) -> Sequence[str]:
        """Repositories that have a blob, in bytewise order, beginning after `after`."""
        ...

    async def log_position(self) -> LogPosition:
        """The end of the log, as new as the last change that was acknowledged."""
        ...

    async def writes(self) -> bool:
        """Whether this node takes changes, rather than another one whose log it has."""
        ...

    async def snapshot_position(self) -> LogPosition:
        """A place in the log up to which all that happened is in what the next reads of the metadata show."""
        ...

    async def log_event(self, serial: int) -> JournalEvent | None:
        """None where there is no such event, or not any more."""
        ...

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        """Up to `limit` events in order, and fewer where they are large."""
        ...

    async def holds(self, repository: str, reference: str) -> bool:
        """Whether a repository has that tag, or a manifest of that digest."""
        ...

    async def newest_of(self, repository: str, after: int, limit: int) -> Sequence[LogEntry]:
        """The last `limit` events of a repository after a serial, the newest one first."""
        ...

    async def records(self) -> Sequence[tuple[str, str, str]]:
        """Kind, key and value of each record, without what is private."""
        ...

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        """As MetadataReader.repositories."""
        ...

    def snapshot_manifests(self, repository: str) -> AsyncIterator[SnapshotManifest]:
        """All manifests of a repository."""
        ...

    async def snapshot_tags(self, repository: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """Up to `limit` tags with their digests, in order, beginning after the tag `after`."""
        ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much a slave was told of and does not show: `events`, and the serial of the first of them (0: none)."""

    events: int
    first: int

    def visible(self, upstream: Upstream) -> int:
        """All events up to this serial can be seen."""
        if upstream.takes_snapshot:
            return 0
        return max(0, self.first - 1) if self.events else upstream.serial


class ReplicaReader(Protocol):
    """What a slave keeps of the log above it. All raise StorageFailure, Unavailable."""

    async def upstream(self) -> Upstream | None:
        """None where it never had any."""
        ...

    async def pending_repositories(self) -> Sequence[str]: ...

    async def pending(self, repository: str, after: int, limit: int) -> Sequence[Pending]:
        """Up to `limit` in order, beyond the number `after`; fewer where they are large."""
        ...

    async def waiting(self) -> Waiting: ...

    async def log_event(self, serial: int) -> JournalEvent | None:
        """Of the log above, as FeedReader.log_event."""
        ...

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        """Of the log above, as FeedReader.log_events."""
        ...

    async def waiting_repositories(self, limit: int) -> tuple[Sequence[tuple[str, int]], int]:
        """The `limit` that have waited longest, each with its first serial; and how many wait."""
        ...

    async def orders(self) -> Orders: ...

    async def report(self) -> Report: ...

    async def transfer(self, digest: str) -> Transfer | None: ...

    async def known_manifests(self, repository: str) -> Sequence[str]:
        """The digests of all manifests that it shows in a repository."""
        ...

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        """As MetadataReader.repositories."""
        ...

    async def tags(self, repository: str, after: str, limit: int) -> Sequence[str]:
        """As MetadataReader.tags."""
        ...


class StateReader(Protocol):
    """What sums over repositories are made of, beside their tags."""

    async def manifest_types(self, repository: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """Up to `limit` manifests by digest and media type, in order of digest, beginning after `after`."""
        ...
