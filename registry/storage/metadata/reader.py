"""Reads of the metadata by SQL: each is a short look-up by key or one bounded page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

from sqlalchemy import bindparam, func, select
from sqlalchemy.sql import Select

from registry.domain.access import KEY
from registry.domain.descriptor import Descriptor
from registry.domain.digest import Digest
from registry.domain.events import AUTH, JournalEvent, record_of
from registry.domain.manifest import RefKind
from registry.domain.upload import Leftover, UploadSession
from registry.errors import StorageFailure
from registry.ports import BlobLink, Page, StoredBlob, StoredManifest
from registry.storage.metadata import access, journal, sessions, statements
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.schema import (
    blob_links,
    blobs,
    garbage,
    head,
    manifests,
    properties,
    references,
    repositories,
    tags,
)
from registry.storage.metadata.schema import journal as events

_REPOSITORY = repositories.c.name == bindparam("repository")
_MANIFEST: Select[tuple[str, str, bytes]] = select(
    manifests.c.digest, manifests.c.media_type, manifests.c.content
).where(_REPOSITORY, manifests.c.repository_id == repositories.c.id)
_BY_DIGEST = _MANIFEST.where(manifests.c.digest == bindparam("digest"))
_BY_TAG = _MANIFEST.where(
    tags.c.repository_id == repositories.c.id,
    tags.c.name == bindparam("tag"),
    manifests.c.digest == tags.c.digest,
)
_BLOB = (
    select(blobs.c.size, blob_links.c.unneeded_since, blobs.c.location)
    .select_from(blob_links.join(blobs, blobs.c.digest == blob_links.c.digest).join(repositories))
    .where(_REPOSITORY, blob_links.c.digest == bindparam("digest"))
)
_IS_FILE = blobs.c.location == ""
_BEYOND = select(blobs).where(blobs.c.digest > bindparam("after")).order_by(blobs.c.digest).limit(100)
_FILES, _OBJECTS = _BEYOND.where(_IS_FILE), _BEYOND.where(~_IS_FILE)
_COUNT_BLOBS = select(func.count()).select_from(blobs)
_COUNT_FILES, _COUNT_OBJECTS = _COUNT_BLOBS.where(_IS_FILE), _COUNT_BLOBS.where(~_IS_FILE)
_STORED = select(blobs.c.size, blobs.c.location).where(blobs.c.digest == bindparam("digest"))
_REPOSITORY_ID = select(repositories.c.id).where(_REPOSITORY)
_TAGS = (
    select(tags.c.name)
    .where(tags.c.repository_id == bindparam("id"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
)
_REFERRERS = (
    select(
        manifests.c.media_type,
        manifests.c.digest,
        func.length(manifests.c.content).label("size"),
        manifests.c.artifact_type,
        manifests.c.annotations,
    )
    .join(repositories)
    .where(_REPOSITORY, manifests.c.subject == bindparam("subject"), manifests.c.digest > bindparam("after"))
    .order_by(manifests.c.digest)
    .limit(bindparam("limit"))
)
_REFERRERS_OF_TYPE = _REFERRERS.where(manifests.c.artifact_type == bindparam("artifact_type"))
_SUBJECTS = (
    select(manifests.c.digest, manifests.c.subject)
    .join(repositories)
    .where(_REPOSITORY, manifests.c.digest.in_(bindparam("digests", expanding=True)))
)
_INDEXES_WITH = (
    select(references.c.manifest)
    .join(repositories)
    .where(
        _REPOSITORY,
        references.c.target == bindparam("target"),
        references.c.kind == RefKind.MANIFEST.value,
    )
    .order_by(references.c.manifest)
    .limit(bindparam("limit"))
)
_CHANGED = (
    select(events.c.serial, events.c.repository).where(events.c.serial > bindparam("after")).order_by(events.c.serial)
)
_VARIABLES_AT_ONCE = 500
_REFERRERS_WEIGHT = 4 * 1024 * 1024  # bytes of annotations: what is served at once has about the size of a manifest
_HEAD = select(head.c.serial, head.c.unlinks)
_SCHEMA_VERSION = select(properties.c.value).where(properties.c.name == "schema_version")
_GARBAGE = select(garbage.c.digest).where(garbage.c.digest > bindparam("after")).order_by(garbage.c.digest).limit(1000)


class SqlReader:
    """MetadataReader, AccessReader, SessionReader and Journal.

    What executes the statements is the database's own affair.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._looks = itertools.count()

    async def close(self) -> None:
        await self._rows.close()

    async def head(self) -> tuple[int, int]:
        """The last serial of the journal, and how many links to blobs were removed so far."""
        row = await self._rows.one_or_none(_HEAD, {})
        if row is None:
            raise StorageFailure("the database has no head of its journal")
        return row.serial, row.unlinks

    async def changed_repositories(self, after: int) -> set[str] | None:
        """The repositories of the journal's events after the serial `after`; None where not all of those are kept."""
        rows = await self._rows.all(_CHANGED, {"after": after})
        return None if rows and rows[0].serial != after + 1 else {row.repository for row in rows}

    async def records(self) -> Sequence[tuple[str, str, str]]:
        return [(row.kind, row.key, row.value) for row in await self._rows.all(access.ALL, {})]

    async def record_changes(self, after: int, limit: int) -> Sequence[tuple[str, str, str]] | None:
        rows = await self._rows.all(access.CHANGED, {"after": after, "limit": limit})
        if rows and rows[0].serial != after + 1:
            return None
        return [record_of(row.kind, row.payload) for row in rows if row.kind.startswith(AUTH)]

    async def private_key(self, key_id: str) -> str | None:
        found: str | None = await self._rows.scalar(access.PRIVATE, {"k": KEY, "name": key_id})
        return found

    async def events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        return [journal.event_of(row) for row in await self._rows.all(journal.AFTER, {"after": after, "limit": limit})]

    async def manifest_by_tag(self, repository: str, tag: str) -> StoredManifest | None:
        row = await self._rows.one_or_none(_BY_TAG, {"repository": repository, "tag": tag})
        return StoredManifest(row.digest, row.media_type, row.content) if row else None

    async def manifest_by_digest(self, repository: str, digest: str) -> StoredManifest | None:
        row = await self._rows.one_or_none(_BY_DIGEST, {"repository": repository, "digest": digest})
        return StoredManifest(row.digest, row.media_type, row.content) if row else None

    async def blob(self, repository: str, digest: str) -> BlobLink | None:
        row = await self._rows.one_or_none(_BLOB, {"repository": repository, "digest": digest})
        return BlobLink(row.size, row.unneeded_since, row.location) if row else None

    async def stored(self, digest: str) -> StoredBlob | None:
        row = await self._rows.one_or_none(_STORED, {"digest": digest})
        return StoredBlob(Digest.parse(digest), row.size, row.location) if row else None

    async def upload(self, upload_id: str) -> UploadSession | None:
        row = await self._rows.one_or_none(sessions.UPLOAD, {"u": upload_id})
        return sessions.session_of(row) if row else None

    async def idle_uploads(self, before: float) -> Sequence[UploadSession]:
        return [sessions.session_of(row) for row in await self._rows.all(sessions.IDLE, {"before": before})]

    async def uploading_repositories(self, since: float) -> frozenset[str]:
        return frozenset(row.repository for row in await self._rows.all(sessions.UPLOADING, {"since": since}))

    async def leftovers(self, before: float) -> Sequence[Leftover]:
        return [Leftover(*row) for row in await self._rows.all(sessions.LEFTOVERS, {"before": before})]

    async def move(self) -> str | None:
        text: str | None = await self._rows.scalar(statements.MOVE, {})
        return text

    async def misplaced(self, into_bucket: bool, after: str) -> Sequence[StoredBlob]:
        rows = await self._rows.all(_FILES if into_bucket else _OBJECTS, {"after": after})
        return [StoredBlob(Digest.parse(row.digest), row.size, row.location) for row in rows]

    async def misplaced_count(self, into_bucket: bool) -> int:
        return int(await self._rows.scalar(_COUNT_FILES if into_bucket else _COUNT_OBJECTS, {}))

    async def garbage(self, after: str = "") -> Sequence[str]:
        """Digests whose bytes no repository has a link to any more, some of them at a time."""
        return [row.digest for row in await self._rows.all(_GARBAGE, {"after": after})]

    async def repository_exists(self, repository: str) -> bool:
        return await self._rows.scalar(_REPOSITORY_ID, {"repository": repository}) is not None

    async def tags(self, repository: str, after: str, limit: int) -> Sequence[str]:
        repository_id = await self._rows.scalar(_REPOSITORY_ID, {"repository": repository})
        rows = await self._rows.all(_TAGS, {"id": repository_id, "after": after, "limit": limit})
        return [row.name for row in rows]

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        return [row.name for row in await self._rows.all(statements.REPOSITORIES, {"after": after, "limit": limit})]

    async def referrers(
        self, repository: str, subject: str, artifact_type: str | None, after: str, limit: int
    ) -> Page[Descriptor]:
        values = {"repository": repository, "subject": subject, "after": after, "limit": limit + 1}
        statement = _REFERRERS
        if artifact_type is not None:
            statement, values = _REFERRERS_OF_TYPE, {**values, "artifact_type": artifact_type}
        found: list[Descriptor] = []
        weight = 0
        async with self._rows.each(statement, values) as rows:
            async for row in rows:
                if len(found) == limit or weight > _REFERRERS_WEIGHT:
                    return Page(found, more=True)
                annotations = json.loads(row.annotations)
                found.append(Descriptor(row.media_type, row.digest, row.size, row.artifact_type, annotations))
                weight += len(row.annotations)
        return Page(found, more=False)

    async def subjects(self, repository: str, digests: Sequence[str]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for start in range(0, len(digests), _VARIABLES_AT_ONCE):
            portion = list(digests[start : start + _VARIABLES_AT_ONCE])
            rows = await self._rows.all(_SUBJECTS, {"repository": repository, "digests": portion})
            found |= {row.digest: row.subject for row in rows}
        return found

    async def indexes_with(self, repository: str, digest: str, limit: int) -> Sequence[str]:
        values = {"repository": repository, "target": digest, "limit": limit}
        return [row.manifest for row in await self._rows.all(_INDEXES_WITH, values)]

    def revision(self, repository: str) -> int:
        """Never the same twice: nothing is remembered here, so nothing is known of changes."""
        return next(self._looks)

    async def check(self) -> None:
        if await self._rows.scalar(_SCHEMA_VERSION, {}) is None:
            raise StorageFailure("the database has no schema version")
