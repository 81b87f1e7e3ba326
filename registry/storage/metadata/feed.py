"""The journal of a master as its replicas read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import bindparam, select

from registry.domain.access import REPLICA
from registry.domain.events import JournalEvent
from registry.errors import StorageFailure
from registry.ports.replication import LogPosition, SnapshotManifest
from registry.storage.metadata import access, journal, statements
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.schema import head, manifests, repositories, tags
from registry.storage.metadata.schema import journal as events

_PAGE_BYTES = 4 * 1024 * 1024
_MANIFESTS_AT_ONCE = 500
_POSITION = select(head.c.serial, head.c.epoch, head.c.chain)
_EVENT = select(events).where(events.c.serial == bindparam("serial"))
_MANIFESTS = (
    select(manifests.c.digest, manifests.c.media_type, manifests.c.content)
    .join(repositories)
    .where(repositories.c.name == bindparam("repository"), manifests.c.digest > bindparam("after"))
    .order_by(manifests.c.digest)
    .limit(bindparam("limit"))
)
_MANIFEST_TYPES = _MANIFESTS.with_only_columns(manifests.c.digest, manifests.c.media_type)
_TAGS = (
    select(tags.c.name, tags.c.digest)
    .join(repositories)
    .where(repositories.c.name == bindparam("repository"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
)


class SqlFeed:
    """FeedReader and StateReader of the node whose journal it is. Others close `rows`, which they use too."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def log_position(self) -> LogPosition:
        row = await self._rows.one_or_none(_POSITION, {})
        if row is None:
            raise StorageFailure("the database has no head of its journal")
        return LogPosition(row.serial, row.epoch, row.chain)

    async def log_event(self, serial: int) -> JournalEvent | None:
        row = await self._rows.one_or_none(_EVENT, {"serial": serial})
        return journal.event_of(row) if row else None

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        """At least one where there is one, and others only up to 4 MiB together."""
        found, weight = [], 0
        # Nothing may suspend in here: on SQLite an open cursor keeps all reads of the process in one past.
        async with self._rows.each(journal.AFTER, {"after": after, "limit": limit}) as rows:
            async for row in rows:
                found.append(journal.event_of(row))
                weight += len(row.payload) + len(row.content)
                if weight >= _PAGE_BYTES:
                    break
        return found

    async def records(self) -> Sequence[tuple[str, str, str]]:
        """All but which slaves may copy from here: that is for the node alone whose slaves they are."""
        rows = await self._rows.all(access.ALL, {})
        return [(row.kind, row.key, row.value) for row in rows if row.kind != REPLICA]

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        rows = await self._rows.all(statements.REPOSITORIES, {"after": after, "limit": limit})
        return [row.name for row in rows]

    async def snapshot_manifests(self, repository: str) -> AsyncIterator[SnapshotManifest]:
        after, more = "", True
        while more:
            page, more = await self._manifests(repository, after)
            for manifest in page:
                yield manifest
                after = manifest.digest

    async def _manifests(self, repository: str, after: str) -> tuple[list[SnapshotManifest], bool]:
        """Some of them in order, bounded by their bytes, and whether there may be more."""
        found: list[SnapshotManifest] = []
        weight = 0
        values = {"repository": repository, "after": after, "limit": _MANIFESTS_AT_ONCE}
        async with self._rows.each(_MANIFESTS, values) as rows:
            async for row in rows:
                found.append(SnapshotManifest(row.digest, row.media_type, row.content))
                weight += len(row.content)
                if weight >= _PAGE_BYTES:
                    break
        return found, weight >= _PAGE_BYTES or len(found) == _MANIFESTS_AT_ONCE

    async def snapshot_tags(self, repository: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        values = {"repository": repository, "after": after, "limit": limit}
        return [(row.name, row.digest) for row in await self._rows.all(_TAGS, values)]

    async def manifest_types(self, repository: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        values = {"repository": repository, "after": after, "limit": limit}
        return [(row.digest, row.media_type) for row in await self._rows.all(_MANIFEST_TYPES, values)]
