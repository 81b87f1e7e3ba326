"""A slave shows what waited: many manifests and tags of a repository in one change, so each table is asked once.

A pushed image makes some fifteen statements; a slave that catches up has thousands of images in one change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection

from registry.domain import events
from registry.domain.changes import Outcome, Show
from registry.domain.manifest import Manifest, RefKind
from registry.errors import ManifestBlobUnknown
from registry.storage.metadata import journal, replica
from registry.storage.metadata import statements as sql
from registry.storage.metadata.journal import NewEvent
from registry.storage.metadata.manifests import drop_manifest, portions, repository_made, repository_of, store_all


def show(connection: Connection, change: Show, now: float) -> Outcome:
    """What the log above has decided: nothing is asked but whether all is there."""
    if change.puts or change.tags or change.deletes:
        known = repository_of(connection, change.repository)
        _check_complete(connection, known, change)
        repository = known or repository_made(connection, change.repository)
        told = [
            *_tags_set(connection, repository, _tags_of(connection, repository, change.renewed)),
            *_put(connection, repository, change.puts, now),
            *_tags_set(connection, repository, change.tags),
            *_deleted(connection, repository, change.deletes, now),
        ]
        journal.append_all(connection, now, change.repository, told)
    replica.drop_pending(connection, change.repository, change.through)
    return Outcome()


def _check_complete(connection: Connection, repository: int | None, change: Show) -> None:
    """Raises ManifestBlobUnknown where a blob or a manifest is not there, and comes with none of the puts."""
    coming = {str(manifest.digest) for manifest in change.puts}
    granted = coming.union(change.forgiven)
    refs = [ref for manifest in change.puts for ref in manifest.refs if ref[0] not in granted]
    needed = {kind: {digest for digest, ref_kind in refs if ref_kind is kind} for kind in RefKind}
    needed[RefKind.MANIFEST] |= {digest for _, digest in change.tags if digest and digest not in coming}
    for kind, statement in ((RefKind.BLOB, sql.LINKED), (RefKind.MANIFEST, sql.KNOWN_MANIFESTS)):
        for digests in portions(sorted(needed[kind])):
            found = set(connection.scalars(statement, {"r": repository, "digests": digests}))
            if missing := [digest for digest in digests if digest not in found]:
                raise ManifestBlobUnknown(
                    f"what is shown needs a {kind} that this repository does not have", {"digest": missing[0]}
                )


def _tags_of(connection: Connection, repository: int, digests: Iterable[str]) -> list[tuple[str, str]]:
    """The tags that point at manifests which were deleted and came again: all of them go."""
    return [
        (tag, "") for digest in digests for tag in connection.scalars(sql.TAGS_OF, {"r": repository, "d": digest}).all()
    ]


def _put(connection: Connection, repository: int, puts: Sequence[Manifest], now: float) -> list[NewEvent]:
    types: dict[str, str] = {}
    for digests in portions([str(manifest.digest) for manifest in puts]):
        found = connection.execute(sql.MANIFEST_TYPES, {"r": repository, "digests": digests})
        types.update((row.digest, row.media_type) for row in found)
    new = [manifest for manifest in puts if types.get(str(manifest.digest)) != manifest.media_type]
    for manifest in new:
        if str(manifest.digest) in types:
            drop_manifest(connection, repository, str(manifest.digest), now)
    for some in portions(new):
        # A database that was damaged may have them without their manifest, and is being healed.
        connection.execute(sql.DROP_REFERENCES, [{"r": repository, "d": str(manifest.digest)} for manifest in some])
        store_all(connection, repository, some)
    return [
        NewEvent(
            events.MANIFEST_PUT,
            {"digest": str(manifest.digest), "media_type": manifest.media_type, "tags": []},
            manifest.content,
        )
        for manifest in new
    ]


def _tags_set(connection: Connection, repository: int, tags: Sequence[tuple[str, str]]) -> Iterator[NewEvent]:
    for some in portions(tags):
        named = {"r": repository, "names": [tag for tag, _ in some]}
        before = {row.name: row.digest for row in connection.execute(sql.TAGS_NAMED, named)}
        changed = [(tag, digest) for tag, digest in some if before.get(tag, "") != digest]
        moved = [{"r": repository, "t": tag, "new_digest": to} for tag, to in changed if to and tag in before]
        added = [{"repository_id": repository, "name": tag, "digest": to} for tag, to in changed if tag not in before]
        dropped = [{"r": repository, "t": tag} for tag, to in changed if not to]
        for statement, rows in ((sql.SET_TAG, moved), (sql.ADD_TAG, added), (sql.DROP_TAG, dropped)):
            if rows:
                connection.execute(statement, rows)
        for tag, digest in changed:
            if digest:
                yield NewEvent(events.TAG_SET, {"tag": tag, "digest": digest})
            else:
                yield NewEvent(events.TAG_DELETE, {"tag": tag})


def _deleted(connection: Connection, repository: int, digests: Iterable[str], now: float) -> Iterator[NewEvent]:
    for digest in digests:
        if connection.scalar(sql.MANIFEST_TYPE, {"r": repository, "d": digest}) is not None:
            connection.execute(sql.DROP_TAGS_OF, {"r": repository, "d": digest})
            drop_manifest(connection, repository, digest, now)
            yield NewEvent(events.MANIFEST_DELETE, {"digest": digest})
