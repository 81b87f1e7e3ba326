"""All of the metadata, looked through by SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, exists, func, select

from registry.domain.digest import Digest
from registry.domain.events import JournalEvent
from registry.domain.manifest import RefKind
from registry.errors import StorageFailure
from registry.ports import DanglingReference, StoredBlob, StoredManifest
from registry.storage.metadata import cutting, journal
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.schema import blob_links, blobs, garbage, head, manifests, references, repositories, tags

_PAGE = 500
_SOME = 5
_COUNT = select(func.count()).select_from(blobs)
_BLOBS = (
    select(blobs.c.digest, blobs.c.size, blobs.c.location)
    .where(blobs.c.digest > bindparam("after"))
    .order_by(blobs.c.digest)
    .limit(_PAGE)
)
_STORED = select(blobs.c.size, blobs.c.location).where(blobs.c.digest == bindparam("digest"))
_GARBAGE = select(garbage.c.digest).where(garbage.c.digest == bindparam("digest"))
_HEAD = select(head.c.serial, head.c.chain)
_MANIFESTS = (
    select(repositories.c.name, manifests.c.digest, manifests.c.media_type, manifests.c.content)
    .join(repositories)
    .order_by(manifests.c.repository_id, manifests.c.digest)
)
_WITH_BLOB = (
    select(repositories.c.name)
    .select_from(blob_links.join(repositories))
    .where(blob_links.c.digest == bindparam("digest"))
    .order_by(repositories.c.name)
    .limit(_SOME)
)
_REPOSITORY = repositories.c.name.label("repository")
_DANGLING_LINKS = (
    select(_REPOSITORY, blob_links.c.digest.label("name"), blob_links.c.digest.label("target"))
    .select_from(blob_links.join(repositories))
    .where(~exists().where(blobs.c.digest == blob_links.c.digest))
    .order_by(repositories.c.name, blob_links.c.digest)
)
_DANGLING_PARTS = (
    select(_REPOSITORY, references.c.manifest.label("name"), references.c.target)
    .select_from(references.join(repositories))
    .where(
        (
            (references.c.kind == str(RefKind.BLOB))
            & ~exists().where(
                blob_links.c.digest == references.c.target, blob_links.c.repository_id == references.c.repository_id
            )
        )
        | (
            (references.c.kind == str(RefKind.MANIFEST))
            & ~exists().where(
                manifests.c.digest == references.c.target, manifests.c.repository_id == references.c.repository_id
            )
        )
    )
    .order_by(repositories.c.name, references.c.manifest, references.c.target)
)
_DANGLING_TAGS = (
    select(_REPOSITORY, tags.c.name, tags.c.digest.label("target"))
    .select_from(tags.join(repositories))
    .where(~exists().where(manifests.c.digest == tags.c.digest, manifests.c.repository_id == tags.c.repository_id))
    .order_by(repositories.c.name, tags.c.name)
)


class SqlInventory:
    """Inventory over any kind of database."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def count(self) -> int:
        return int(await self._rows.scalar(_COUNT, {}))

    async def blobs(self) -> AsyncIterator[Sequence[StoredBlob]]:
        after = ""
        while page := await self._rows.all(_BLOBS, {"after": after}):
            yield [StoredBlob(Digest.parse(row.digest), row.size, row.location) for row in page]
            after = page[-1].digest

    async def manifests(self) -> AsyncIterator[tuple[str, StoredManifest]]:
        async with self._rows.each(_MANIFESTS, {}) as rows:
            async for row in rows:
                yield row.name, StoredManifest(row.digest, row.media_type, row.content)

    def dangling_links(self) -> AsyncIterator[DanglingReference]:
        return self._dangling(_DANGLING_LINKS)

    def dangling_parts(self) -> AsyncIterator[DanglingReference]:
        return self._dangling(_DANGLING_PARTS)

    def dangling_tags(self) -> AsyncIterator[DanglingReference]:
        return self._dangling(_DANGLING_TAGS)

    async def _dangling(self, statement: Select[Any]) -> AsyncIterator[DanglingReference]:
        async with self._rows.each(statement, {}) as rows:
            async for row in rows:
                yield DanglingReference(row.repository, row.name, row.target)

    async def repositories_with(self, digest: str) -> Sequence[str]:
        return [row.name for row in await self._rows.all(_WITH_BLOB, {"digest": digest})]

    async def stored(self, digest: str) -> StoredBlob | None:
        row = await self._rows.one_or_none(_STORED, {"digest": digest})
        return StoredBlob(Digest.parse(digest), row.size, row.location) if row else None

    async def is_garbage(self, digest: str) -> bool:
        return await self._rows.scalar(_GARBAGE, {"digest": digest}) is not None

    async def events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        return [journal.event_of(row) for row in await self._rows.all(journal.AFTER, {"after": after, "limit": limit})]

    async def journal_base(self) -> tuple[int, bytes]:
        return cutting.base_of(await self._rows.scalar(cutting.BASE, {}))

    async def head(self) -> tuple[int, bytes]:
        row = await self._rows.one_or_none(_HEAD, {})
        if row is None:
            raise StorageFailure("the database has no head of its journal")
        return row.serial, row.chain
