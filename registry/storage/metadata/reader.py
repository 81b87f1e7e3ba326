"""Reads of the metadata by SQL.

Reads run on the event loop itself: each is a short look-up by key or one bounded page, and handing it
to a thread costs more than the read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Engine, bindparam, exists, func, select
from sqlalchemy.sql import Select

from registry.domain.descriptor import Descriptor
from registry.domain.digest import Digest
from registry.domain.events import JournalEvent
from registry.domain.upload import Leftover, UploadSession
from registry.errors import StorageFailure
from registry.ports import BlobLink, Page, StoredBlob, StoredManifest
from registry.storage.metadata import journal, sessions
from registry.storage.metadata.schema import blob_links, blobs, garbage, head, manifests, properties, repositories, tags
from registry.storage.metadata.schema import journal as events
from registry.storage.metadata.sqlite import translated

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
_STORED = select(blobs.c.size, blobs.c.location).where(blobs.c.digest == bindparam("digest"))
_REPOSITORY_ID = select(repositories.c.id).where(_REPOSITORY)
_TAGS = (
    select(tags.c.name)
    .where(tags.c.repository_id == bindparam("id"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
)
_REPOSITORIES = (
    select(repositories.c.name)
    .where(repositories.c.name > bindparam("after"), exists().where(manifests.c.repository_id == repositories.c.id))
    .order_by(repositories.c.name)
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
_CHANGED = select(events.c.repository).where(events.c.serial > bindparam("after")).distinct()
_VARIABLES_AT_ONCE = 500
_REFERRERS_WEIGHT = 4 * 1024 * 1024  # bytes of annotations: what is served at once has about the size of a manifest
_HEAD = select(head.c.serial, head.c.unlinks)
_GARBAGE = select(garbage.c.digest).where(garbage.c.digest > bindparam("after")).order_by(garbage.c.digest).limit(1000)


class SqlReader:
    """MetadataReader, SessionReader and Journal over one read-only connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection = engine.connect()

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def head(self) -> tuple[int, int]:
        """The last serial of the journal, and how many links to blobs were removed so far."""
        with translated():
            row = self._connection.execute(_HEAD).one()
        return row.serial, row.unlinks

    def changed_repositories(self, after: int) -> Sequence[str]:
        """The repositories of the journal's events after the serial `after`."""
        with translated():
            return list(self._connection.scalars(_CHANGED, {"after": after}))

    async def events(self, after: int, limit: int) -> Sequence[JournalEvent]:
        with translated():
            return journal.read(self._connection, after, limit)

    async def manifest_by_tag(self, repository: str, tag: str) -> StoredManifest | None:
        with translated():
            row = self._connection.execute(_BY_TAG, {"repository": repository, "tag": tag}).one_or_none()
        return StoredManifest(row.digest, row.media_type, row.content) if row else None

    async def manifest_by_digest(self, repository: str, digest: str) -> StoredManifest | None:
        with translated():
            row = self._connection.execute(_BY_DIGEST, {"repository": repository, "digest": digest}).one_or_none()
        return StoredManifest(row.digest, row.media_type, row.content) if row else None

    async def blob(self, repository: str, digest: str) -> BlobLink | None:
        with translated():
            row = self._connection.execute(_BLOB, {"repository": repository, "digest": digest}).one_or_none()
        return BlobLink(row.size, row.unneeded_since, row.location) if row else None

    async def stored(self, digest: str) -> StoredBlob | None:
        with translated():
            row = self._connection.execute(_STORED, {"digest": digest}).one_or_none()
        return StoredBlob(Digest.parse(digest), row.size, row.location) if row else None

    async def upload(self, upload_id: str) -> UploadSession | None:
        with translated():
            row = self._connection.execute(sessions.UPLOAD, {"u": upload_id}).one_or_none()
        return sessions.session_of(row) if row else None

    async def idle_uploads(self, before: float) -> Sequence[UploadSession]:
        with translated():
            return [sessions.session_of(row) for row in self._connection.execute(sessions.IDLE, {"before": before})]

    async def uploading_repositories(self, since: float) -> frozenset[str]:
        with translated():
            return frozenset(self._connection.scalars(sessions.UPLOADING, {"since": since}))

    async def leftovers(self, before: float) -> Sequence[Leftover]:
        with translated():
            return [Leftover(*row) for row in self._connection.execute(sessions.LEFTOVERS, {"before": before})]

    async def garbage(self, after: str = "") -> Sequence[str]:
        """Digests whose bytes no repository has a link to any more, some of them at a time."""
        with translated():
            return list(self._connection.scalars(_GARBAGE, {"after": after}))

    async def repository_exists(self, repository: str) -> bool:
        with translated():
            return self._connection.scalar(_REPOSITORY_ID, {"repository": repository}) is not None

    async def tags(self, repository: str, after: str, limit: int) -> Sequence[str]:
        with translated():
            repository_id = self._connection.scalar(_REPOSITORY_ID, {"repository": repository})
            return list(self._connection.scalars(_TAGS, {"id": repository_id, "after": after, "limit": limit}))

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        with translated():
            return list(self._connection.scalars(_REPOSITORIES, {"after": after, "limit": limit}))

    async def referrers(
        self, repository: str, subject: str, artifact_type: str | None, after: str, limit: int
    ) -> Page[Descriptor]:
        values = {"repository": repository, "subject": subject, "after": after, "limit": limit + 1}
        statement = _REFERRERS
        if artifact_type is not None:
            statement, values = _REFERRERS_OF_TYPE, {**values, "artifact_type": artifact_type}
        found: list[Descriptor] = []
        weight = 0
        with translated(), self._connection.execute(statement, values) as rows:
            for row in rows:
                if len(found) == limit or weight > _REFERRERS_WEIGHT:
                    return Page(found, more=True)
                annotations = json.loads(row.annotations)
                found.append(Descriptor(row.media_type, row.digest, row.size, row.artifact_type, annotations))
                weight += len(row.annotations)
        return Page(found, more=False)

    async def subjects(self, repository: str, digests: Sequence[str]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        with translated():
            for start in range(0, len(digests), _VARIABLES_AT_ONCE):
                portion = list(digests[start : start + _VARIABLES_AT_ONCE])
                rows = self._connection.execute(_SUBJECTS, {"repository": repository, "digests": portion})
                found |= {row.digest: row.subject for row in rows}
        return found

    async def check(self) -> None:
        with translated():
            if self._connection.scalar(select(properties.c.value).where(properties.c.name == "schema_version")) is None:
                raise StorageFailure("the database has no schema version")
