"""What a slave reads of its own tables."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from registry.domain.events import JournalEvent
from registry.domain.replica import Orders, Pending, Report, Transfer, Upstream
from registry.ports.replication import Waiting
from registry.storage.metadata import orders, replica
from registry.storage.metadata.feed import SqlSlaveFeed
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.schema import manifests, repositories

_KNOWN = (
    select(manifests.c.digest)
    .join(repositories)
    .where(repositories.c.name == bindparam("repository"))
    .order_by(manifests.c.digest)
)
_MOST_BYTES = 16 * 1024 * 1024  # of manifests at once


class SqlReplicaReader:
    """ReplicaReader; what it reads of manifests and tags is what `shown` reads."""

    def __init__(self, rows: Rows, shown: SqlReader) -> None:
        self._rows = rows
        self._shown = shown
        self._log = SqlSlaveFeed(rows)

    async def upstream(self) -> Upstream | None:
        text = await self._rows.scalar(replica.UPSTREAM, {})
        return Upstream.of(text) if text else None

    async def pending_repositories(self) -> Sequence[str]:
        return [row.repository for row in await self._rows.all(replica.PENDING_REPOSITORIES, {})]

    async def pending(self, repository: str, after: int, limit: int) -> Sequence[Pending]:
        found: list[Pending] = []
        size = 0
        values = {"repository": repository, "after": after, "limit": limit}
        async with self._rows.each(replica.PENDING, values) as rows:
            async for row in rows:
                found.append(replica.pending_of(row))
                size += len(row.content)
                if size > _MOST_BYTES:
                    break
        return found

    async def waiting(self) -> Waiting:
        count = await self._rows.scalar(replica.WAITING, {})
        return Waiting(count, await self._rows.scalar(replica.FIRST_WAITING, {}) or 0)

    async def log_event(self, serial: int) -> JournalEvent | None:
        return await self._log.log_event(serial)

    async def log_events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        return await self._log.log_events(after, limit)

    async def waiting_repositories(self, limit: int) -> tuple[Sequence[tuple[str, int]], int]:
        rows = await self._rows.all(replica.WAITING_REPOSITORIES, {"limit": limit})
        total = len(rows) if len(rows) < limit else await self._rows.scalar(replica.HOW_MANY_WAIT, {})
        return [(row.repository, row.first) for row in rows], total

    async def orders(self) -> Orders:
        return Orders.of(await orders.read_orders(self._rows))

    async def report(self) -> Report:
        return Report.of(await orders.read_report(self._rows))

    async def transfer(self, digest: str) -> Transfer | None:
        row = await self._rows.one_or_none(replica.TRANSFER, {"d": digest})
        return replica.transfer_of(row) if row else None

    async def known_manifests(self, repository: str) -> Sequence[str]:
        return [row.digest for row in await self._rows.all(_KNOWN, {"repository": repository})]

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        return await self._shown.repositories(after, limit)

    async def tags(self, repository: str, after: str, limit: int) -> Sequence[str]:
        return await self._shown.tags(repository, after, limit)
