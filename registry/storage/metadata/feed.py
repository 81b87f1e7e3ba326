"""The log as replicas read it: a master's journal, or on a slave the log above it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Select, Table, bindparam, select

from registry.domain.events import JournalEvent
from registry.domain.replica import Upstream
from registry.domain.succession import Standing
from registry.errors import Denied, StorageFailure, Unavailable
from registry.ports.replication import LogEntry, LogPosition, SnapshotManifest
from registry.storage.metadata import access, journal, replica, statements
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.schema import (
    CURSOR_SECRET,
    blob_links,
    head,
    manifests,
    properties,
    repositories,
    tags,
    upstream_log,
)
from registry.storage.metadata.schema import journal as events
from registry.storage.metadata.succession import STANDING

_PAGE_BYTES = 4 * 1024 * 1024
_MANIFESTS_AT_ONCE = 500
_POSITION = select(head.c.serial, head.c.epoch, head.c.chain)
_EVENT = select(events).where(events.c.serial == bindparam("serial"))
_TAG, _MANIFEST = (
    select(column)
    .join(repositories)
    .where(repositories.c.name == bindparam("repository"), column == bindparam("reference"))
    for column in (tags.c.name, manifests.c.digest)
)


def _newest_in(log: Table) -> Select[Any]:
    return (
        select(log.c.serial, log.c.kind, log.c.payload)
        .where(log.c.repository == bindparam("repository"), log.c.serial > bindparam("after"))
        .order_by(log.c.serial.desc())
        .limit(bindparam("limit"))
    )


_NEWEST, _NEWEST_ABOVE = _newest_in(events), _newest_in(upstream_log)
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
_REPOSITORIES_WITH = (
    select(repositories.c.name)
    .join(blob_links)
    .where(blob_links.c.digest == bindparam("digest"), repositories.c.name > bindparam("after"))
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)
_CURSOR_SECRET = select(properties.c.value).where(properties.c.name == CURSOR_SECRET)


class SqlFeed:
    """FeedReader and StateReader of the node whose journal it is. Others close `rows`, which they use too."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def check_source(self) -> None:
        """A node that is no slave has everything."""

    async def cursor_secret(self) -> bytes:
        found: str | None = await self._rows.scalar(_CURSOR_SECRET, {})
        if found is None:
            raise StorageFailure("the database has no secret for cursors")
        return bytes.fromhex(found)

    async def repositories_with(self, blob: str, after: str, limit: int) -> Sequence[str]:
        values = {"digest": blob, "after": after, "limit": limit}
        return [row.name for row in await self._rows.all(_REPOSITORIES_WITH, values)]

    async def log_position(self) -> LogPosition:
        row = await self._rows.one_or_none(_POSITION, {})
        if row is None:
            raise StorageFailure("the database has no head of its journal")
        return LogPosition(row.serial, row.epoch, row.chain)

    async def standing(self) -> Standing:
        """Who writes the log."""
        return Standing.of(await self._rows.scalar(STANDING, {}))

    async def writes(self) -> bool:
        return not (await self.standing()).is_former

    async def snapshot_position(self) -> LogPosition:
        return await self.log_position()

    async def log_event(self, serial: int) -> JournalEvent | None:
        row = await self._rows.one_or_none(_EVENT, {"serial": serial})
        return journal.event_of(row) if row else None

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        """At least one where there is one, and others only up to 4 MiB together."""
        return await self._events(journal.AFTER, after, limit)

    async def _events(self, statement: Select[Any], after: int, limit: int) -> Sequence[JournalEvent]:
        found, weight = [], 0
        # Nothing may suspend in here: on SQLite an open cursor keeps all reads of the process in one past.
        async with self._rows.each(statement, {"after": after, "limit": limit}) as rows:
            async for row in rows:
                found.append(journal.event_of(row))
                weight += len(row.payload) + len(row.content)
                if weight >= _PAGE_BYTES:
                    break
        return found

    async def holds(self, repository: str, reference: str) -> bool:
        values = {"repository": repository, "reference": reference}
        return any([await self._rows.scalar(statement, values) is not None for statement in (_TAG, _MANIFEST)])

    async def newest_of(self, repository: str, after: int, limit: int) -> Sequence[LogEntry]:
        return await self._newest(_NEWEST, repository, after, limit)

    async def _newest(self, statement: Select[Any], repository: str, after: int, limit: int) -> Sequence[LogEntry]:
        rows = await self._rows.all(statement, {"repository": repository, "after": after, "limit": limit})
        return [LogEntry(row.serial, row.kind, row.payload) for row in rows]

    async def records(self) -> Sequence[tuple[str, str, str]]:
        rows = await self._rows.all(access.ALL, {})
        return [(row.kind, row.key, row.value) for row in rows]

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


class SqlSlaveFeed(SqlFeed):
    """FeedReader of a slave: slaves below it follow the same log, with the same serials and the same chain.

    What it shows may be behind what it has of the log; so a snapshot of it is of a place before that.
    """

    async def check_source(self) -> None:
        text = await self._rows.scalar(replica.UPSTREAM, {})
        if text and Upstream.of(text).is_limited:
            raise Denied("this slave has only some of the repositories, so nothing can copy it: follow its master")

    async def log_position(self) -> LogPosition:
        upstream = await self._upstream()
        return LogPosition(upstream.serial, upstream.epoch, bytes.fromhex(upstream.chain))

    async def writes(self) -> bool:
        return False

    async def snapshot_position(self) -> LogPosition:
        first = await self._rows.scalar(replica.FIRST_WAITING, {})
        if first is None:
            return await self.log_position()
        before = await self.log_event(first - 1)
        if before is None:
            raise Unavailable("this slave is not through with its own snapshot yet")
        return LogPosition(before.serial, before.epoch, before.chain)

    async def log_event(self, serial: int) -> JournalEvent | None:
        row = await self._rows.one_or_none(replica.EVENT, {"serial": serial})
        if row is not None:
            return journal.event_of(row)
        upstream = await self._upstream()
        if serial != upstream.base_serial:
            return None
        # Only the place of the event before the first one is known, which is all that a position needs.
        chain = bytes.fromhex(upstream.base_chain)
        return JournalEvent(serial, upstream.base_epoch, 0.0, "", "", b"", b"", chain)

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        return await self._events(replica.EVENTS_AFTER, after, limit)

    async def newest_of(self, repository: str, after: int, limit: int) -> Sequence[LogEntry]:
        return await self._newest(_NEWEST_ABOVE, repository, after, limit)

    async def _upstream(self) -> Upstream:
        """Raises Unavailable while what is shown does not go with a place in the log."""
        text = await self._rows.scalar(replica.UPSTREAM, {})
        upstream = Upstream.of(text) if text else Upstream(snapshot=True)
        if upstream.takes_snapshot:
            raise Unavailable("this slave is taking a snapshot itself")
        return upstream
