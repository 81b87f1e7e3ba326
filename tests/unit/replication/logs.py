"""A log in memory, for tests of what reads one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from registry.domain.events import CHAIN_START, JournalEvent, link
from registry.ports.replication import LogEntry, LogPosition, SnapshotManifest


class MemoryLog:
    """FeedReader. `reads`: how often somebody looked; `failure`: raised instead, where there is one."""

    def __init__(self, events: Iterable[JournalEvent] = ()) -> None:
        self.known = list(events)
        self.reads = 0
        self.failure: Exception | None = None

    def append(self, count: int = 1, *, epoch: int = 1, content: bytes = b"") -> None:
        for _ in range(count):
            last = self.known[-1] if self.known else None
            serial, chain = (last.serial + 1, last.chain) if last else (1, CHAIN_START)
            fields = (serial, epoch, float(serial), "tag.set", "team/app", b"{}", content)
            self.known.append(JournalEvent(*fields, link(chain, *fields)))

    async def check_source(self) -> None:
        self._look()

    async def cursor_secret(self) -> bytes:
        return b"secret"

    async def repositories_with(self, blob: str, after: str, limit: int) -> Sequence[str]:
        return []

    async def log_position(self) -> LogPosition:
        self._look()
        last = self.known[-1] if self.known else None
        return LogPosition(last.serial, last.epoch, last.chain) if last else LogPosition(0, 1, CHAIN_START)

    async def writes(self) -> bool:
        return True

    async def snapshot_position(self) -> LogPosition:
        return await self.log_position()

    async def log_event(self, serial: int) -> JournalEvent | None:
        self._look()
        return next((event for event in self.known if event.serial == serial), None)

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        self._look()
        return [event for event in self.known if event.serial > after][:limit]

    async def holds(self, repository: str, reference: str) -> bool:
        return any(event.repository == repository for event in self.known)

    async def newest_of(self, repository: str, after: int, limit: int) -> Sequence[LogEntry]:
        found = [
            LogEntry(event.serial, event.kind, event.payload) for event in self.known if event.repository == repository
        ]
        return found[::-1][:limit]

    async def records(self) -> Sequence[tuple[str, str, str]]:
        return []

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        return []

    async def snapshot_manifests(self, repository: str) -> AsyncIterator[SnapshotManifest]:
        nothing: Sequence[SnapshotManifest] = ()
        for manifest in nothing:
            yield manifest

    async def snapshot_tags(self, repository: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        return []

    def _look(self) -> None:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
