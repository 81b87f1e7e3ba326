"""How manifests and tags change by what is pushed or deleted here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from registry.domain import events
from registry.domain.changes import DeleteManifest, DeleteTag, Outcome, PutManifest
from registry.domain.manifest import Manifest, RefKind
from registry.errors import ManifestBlobUnknown, ManifestUnknown
from registry.storage.metadata import journal, limits
from registry.storage.metadata import statements as sql

_VARIABLES_AT_ONCE = 500

T = TypeVar("T")


def repository_of(connection: Connection, name: str) -> int | None:
    return connection.scalar(sql.REPOSITORY_ID, {"name": name})


def repository_made(connection: Connection, name: str) -> int:
    known = repository_of(connection, name)
    if known is not None:
        return known
    created = connection.execute(sql.ADD_REPOSITORY, {"name": name}).inserted_primary_key
    assert created is not None
    return int(created[0])


def put_manifest(connection: Connection, change: PutManifest, now: float) -> Outcome:
    manifest, digest = change.manifest, str(change.manifest.digest)
    known_repository = repository_of(connection, change.repository)
    _check_references(connection, known_repository, manifest)
    before = {tag: connection.scalar(sql.TAG, {"r": known_repository, "t": tag}) for tag in change.tags}
    moved = [tag for tag in change.tags if before[tag] != digest]
    new = [tag for tag in moved if before[tag] is None]
    if moved:
        limits.check_tags(connection, change.repository, [tag for tag in moved if tag not in new], new)
    known_type = connection.scalar(sql.MANIFEST_TYPE, {"r": known_repository, "d": digest})
    if known_repository is not None and known_type not in (None, manifest.media_type):
        limits.check_delete(connection, change.repository, known_repository, digest)
    repository = known_repository or repository_made(connection, change.repository)
    if known_type == manifest.media_type:
        for tag in moved:
            _set_tag(connection, repository, tag, digest)
            journal.append(connection, now, events.TAG_SET, change.repository, {"tag": tag, "digest": digest})
        return Outcome(changed=bool(moved))
    if known_type is not None:  # the same bytes as another type may refer to other things
        drop_manifest(connection, repository, digest, now)
    store_all(connection, repository, [manifest])
    for tag in moved:
        _set_tag(connection, repository, tag, digest)
    payload = {"digest": digest, "media_type": manifest.media_type, "tags": moved}
    journal.append(connection, now, events.MANIFEST_PUT, change.repository, payload, manifest.content)
    return Outcome()


def _check_references(connection: Connection, repository: int | None, manifest: Manifest) -> None:
    for kind, statement in ((RefKind.BLOB, sql.LINKED), (RefKind.MANIFEST, sql.KNOWN_MANIFESTS)):
        wanted = [digest for digest, ref_kind in manifest.refs if ref_kind is kind]
        for digests in portions(wanted):
            found = set(connection.scalars(statement, {"r": repository, "digests": digests}))
            missing = [digest for digest in digests if digest not in found]
            if missing:
                raise ManifestBlobUnknown(
                    f"the manifest refers to a {kind} that this repository does not have", {"digest": missing[0]}
                )


def portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at a time as one statement can name."""
    for start in range(0, len(items), _VARIABLES_AT_ONCE):
        yield items[start : start + _VARIABLES_AT_ONCE]


def store_all(connection: Connection, repository: int, manifests: Sequence[Manifest]) -> None:
    """Add manifests that are not there; what they refer to is needed from now on."""
    connection.execute(sql.ADD_MANIFEST, [_row(repository, manifest) for manifest in manifests])
    references = [
        {"repository_id": repository, "manifest": str(manifest.digest), "target": target, "kind": str(kind)}
        for manifest in manifests
        for target, kind in dict(manifest.refs).items()
    ]
    if references:
        connection.execute(sql.ADD_REFERENCE, references)
        targets = dict.fromkeys(reference["target"] for reference in references)
        connection.execute(sql.SET_UNNEEDED, [{"r": repository, "d": target, "since": None} for target in targets])


def _row(repository: int, manifest: Manifest) -> dict[str, object]:
    return {
        "repository_id": repository,
        "digest": str(manifest.digest),
        "media_type": manifest.media_type,
        "content": manifest.content,
        "subject": manifest.subject,
        "artifact_type": manifest.artifact_type,
        "annotations": json.dumps(dict(manifest.annotations)),
    }


def _set_tag(connection: Connection, repository: int, tag: str, digest: str) -> None:
    key = {"r": repository, "t": tag}
    if connection.execute(sql.SET_TAG, {**key, "new_digest": digest}).rowcount == 0:
        connection.execute(sql.ADD_TAG, {"repository_id": repository, "name": tag, "digest": digest})


def delete_tag(connection: Connection, change: DeleteTag, now: float) -> Outcome:
    repository = repository_of(connection, change.repository)
    if repository and connection.scalar(sql.TAG, {"r": repository, "t": change.tag}) is not None:
        limits.check_tags(connection, change.repository, [change.tag], [])
    dropped = connection.execute(sql.DROP_TAG, {"r": repository, "t": change.tag}).rowcount if repository else 0
    if not dropped:
        raise ManifestUnknown("no such tag in this repository", {"tag": change.tag})
    journal.append(connection, now, events.TAG_DELETE, change.repository, {"tag": change.tag})
    return Outcome()


def delete_manifest(connection: Connection, change: DeleteManifest, now: float) -> Outcome:
    repository = repository_of(connection, change.repository)
    key = {"r": repository, "d": change.digest}
    if repository is None or connection.scalar(sql.MANIFEST_TYPE, key) is None:
        raise ManifestUnknown("no such manifest in this repository", {"digest": change.digest})
    limits.check_delete(connection, change.repository, repository, change.digest)
    connection.execute(sql.DROP_TAGS_OF, key)
    drop_manifest(connection, repository, change.digest, now)
    journal.append(connection, now, events.MANIFEST_DELETE, change.repository, {"digest": change.digest})
    return Outcome()


def drop_manifest(connection: Connection, repository: int, digest: str, now: float) -> None:
    """Remove a manifest; the grace time begins for what no other one needs."""
    key = {"r": repository, "d": digest}
    connection.execute(sql.BEGIN_GRACE, {**key, "since": now})
    connection.execute(sql.DROP_REFERENCES, key)
    connection.execute(sql.DROP_MANIFEST, key)
