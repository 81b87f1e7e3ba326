"""The log that replicas read, on a master and on a slave, and what a slave keeps of the one above it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.domain.events import JournalEvent


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The last event of a log: its serial, epoch and chain; serial 0 and CHAIN_START before the first one."""

    serial: int
    epoch: int
    chain: bytes


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    digest: str
    media_type: str
    content: bytes


class FeedReader(Protocol):
    """The log as replicas see it: on a master its journal, on a slave the events of the master. All raise
    StorageFailure, Unavailable."""

    async def log_position(self) -> LogPosition:
        """The end of the log, as new as the last change that was acknowledged."""
        ...

    async def log_event(self, serial: int) -> JournalEvent | None:
        """None where there is no such event, or not any more."""
        ...

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        """Up to `limit` events in order, and fewer where they are large."""
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


class StateReader(Protocol):
    """What sums over repositories are made of, beside their tags."""

    async def manifest_types(self, repository: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """Up to `limit` manifests by digest and media type, in order of digest, beginning after `after`."""
        ...
