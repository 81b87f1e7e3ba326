"""How a change is made: every check first, then every write, all inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from registry.domain import events
from registry.domain.changes import (
    BeginUpload,
    Change,
    CollectBlobs,
    DeleteBlob,
    DeleteManifest,
    DeleteTag,
    EndUpload,
    ForgetGarbage,
    ForgetLeftovers,
    HoldUpload,
    KeepBlob,
    KeepPlan,
    LinkBlob,
    MountBlob,
    MoveBlob,
    NoteMove,
    Outcome,
    PlanObject,
    PutManifest,
    SaveUpload,
    SetRecord,
)
from registry.domain.manifest import Manifest, RefKind
from registry.domain.upload import Leftover, object_remains
from registry.errors import BlobInUse, BlobUnknown, ManifestBlobUnknown, ManifestUnknown
from registry.storage.metadata import access, journal, limits, sessions
from registry.storage.metadata import statements as sql

_VARIABLES_AT_ONCE = 500


def apply(connection: Connection, change: Change, now: float) -> Outcome:
    """Make one change; raises the RegistryError that refuses it, and has then written nothing."""
    match change:
        case LinkBlob():
            return _link_blob(connection, change, now)
        case MountBlob():
            return _mount_blob(connection, change, now)
        case KeepBlob():
            return _keep_blob(connection, change, now)
        case DeleteBlob():
            return _delete_blob(connection, change, now)
        case PutManifest():
            return _put_manifest(connection, change, now)
        case DeleteTag():
            return _delete_tag(connection, change, now)
        case DeleteManifest():
            return _delete_manifest(connection, change, now)
        case CollectBlobs():
            return _collect_blobs(connection, change, now)
        case ForgetGarbage():
            for digest in change.digests:
                connection.execute(sql.DROP_GARBAGE, {"d": digest})
            return Outcome()
        case BeginUpload():
            return sessions.begin(connection, change)
        case HoldUpload():
            return sessions.hold(connection, change, now)
        case SaveUpload():
            return sessions.save(connection, change, now)
        case EndUpload():
            return sessions.end(connection, change, now)
        case ForgetLeftovers():
            return sessions.forget(connection, change)
        case PlanObject():
            sessions.leave_behind(connection, object_remains(change.key), now)
            return Outcome()
        case KeepPlan():
            return sessions.keep_plan(connection, change, now)
        case MoveBlob():
            return _move_blob(connection, change, now)
        case NoteMove():
            return _note_move(connection, change)
        case SetRecord():
            return access.set_record(connection, change, now)


def _repository(connection: Connection, name: str) -> int | None:
    return connection.scalar(sql.REPOSITORY_ID, {"name": name})


def _repository_made(connection: Connection, name: str) -> int:
    known = _repository(connection, name)
    if known is not None:
        return known
    created = connection.execute(sql.ADD_REPOSITORY, {"name": name}).inserted_primary_key
    assert created is not None
    return int(created[0])


def _link_blob(connection: Connection, change: LinkBlob, now: float) -> Outcome:
    limits.check_blob(connection, change.repository, change.digest, change.size)
    before = connection.execute(sql.BLOB, {"d": change.digest}).one_or_none()
    linked_already = before is not None and before.location == change.location != ""
    if change.upload and not linked_already:  # else the answer was lost, and this is the same change again
        sessions.become_blob(connection, change, now)
    if before is None:
        new = {"digest": change.digest, "size": change.size, "location": change.location}
        connection.execute(sql.ADD_BLOB, new)
    elif (before.size, before.location) != (change.size, change.location):
        new = {"d": change.digest, "new_size": change.size, "new_location": change.location}
        connection.execute(sql.SET_BLOB, new)
        if before.location != change.location:
            _give_up(connection, change.digest, before.location, now)
            connection.execute(sql.COUNT_UNLINK)
    if change.location and not change.upload:  # planned, and not made by a session
        sessions.forget(connection, ForgetLeftovers(object_remains(change.location)))
    if not change.location:
        connection.execute(sql.DROP_GARBAGE, {"d": change.digest})
    return _link(connection, _repository_made(connection, change.repository), change.digest, now)


def _move_blob(connection: Connection, change: MoveBlob, now: float) -> Outcome:
    before = connection.execute(sql.BLOB, {"d": change.digest}).one_or_none()
    if before is None or before.location != change.source:
        if before is None or before.location != change.target:
            _give_up(connection, change.digest, change.target, now)
        return Outcome(changed=False)
    if change.target and not sessions.is_planned(connection, change.target):
        _give_up(connection, change.digest, change.target, now)
        return Outcome(changed=False)
    new = {"d": change.digest, "new_size": before.size, "new_location": change.target}
    connection.execute(sql.SET_BLOB, new)
    if change.target:
        sessions.forget(connection, ForgetLeftovers(object_remains(change.target)))
    else:
        connection.execute(sql.DROP_GARBAGE, {"d": change.digest})
    _give_up(connection, change.digest, change.source, now)
    connection.execute(sql.COUNT_UNLINK)
    return Outcome()


def _note_move(connection: Connection, change: NoteMove) -> Outcome:
    if (connection.scalar(sql.MOVE) or "") != change.before:
        return Outcome(changed=False)
    if connection.execute(sql.SET_MOVE, {"new": change.after}).rowcount == 0:
        connection.execute(sql.ADD_MOVE, {"value": change.after})
    return Outcome()


def _give_up(connection: Connection, digest: str, location: str, now: float) -> None:
    """The bytes at this place are nobody's any more."""
    if location:
        sessions.leave_behind(connection, [Leftover(location)], now)
    else:
        connection.execute(sql.ADD_GARBAGE, {"digest": digest})


def _link(connection: Connection, repository: int, digest: str, now: float) -> Outcome:
    key = {"r": repository, "d": digest}
    link = connection.execute(sql.LINK, key).one_or_none()
    if link is None:
        # A manifest may have come first, where the layer is of a kind that need not be pushed.
        since = None if connection.scalar(sql.IS_TARGET, key) else now
        connection.execute(sql.ADD_LINK, {"digest": digest, "repository_id": repository, "unneeded_since": since})
        return Outcome()
    if link.unneeded_since is not None:
        connection.execute(sql.SET_UNNEEDED, {**key, "since": now})
    return Outcome(changed=False)


def _mount_blob(connection: Connection, change: MountBlob, now: float) -> Outcome:
    unknown = BlobUnknown("no such blob to mount", {"digest": change.digest, "from": change.source})
    if change.source is None:
        if connection.execute(sql.ANY_LINK, {"d": change.digest}).first() is None:
            raise unknown
    else:
        source = _repository(connection, change.source)
        if source is None or connection.execute(sql.LINK, {"r": source, "d": change.digest}).first() is None:
            raise unknown
    limits.check_blob(
        connection, change.repository, change.digest, connection.execute(sql.BLOB, {"d": change.digest}).one().size
    )
    return _link(connection, _repository_made(connection, change.repository), change.digest, now)


def _keep_blob(connection: Connection, change: KeepBlob, now: float) -> Outcome:
    repository = _repository(connection, change.repository)
    key = {"r": repository, "d": change.digest}
    link = connection.execute(sql.LINK, key).one_or_none()
    if link is None:
        raise BlobUnknown("no such blob in this repository", {"digest": change.digest})
    if link.unneeded_since is not None:
        connection.execute(sql.SET_UNNEEDED, {**key, "since": now})
    return Outcome()


def _delete_blob(connection: Connection, change: DeleteBlob, now: float) -> Outcome:
    repository = _repository(connection, change.repository)
    key = {"r": repository, "d": change.digest}
    if repository is None or connection.execute(sql.LINK, key).first() is None:
        raise BlobUnknown("no such blob in this repository", {"digest": change.digest})
    if connection.scalar(sql.IS_TARGET, key):
        raise BlobInUse(
            "a manifest of this repository needs the blob: delete the manifest first", {"digest": change.digest}
        )
    return Outcome(digests=tuple(_unlink(connection, repository, change.digest, now)))


def _unlink(connection: Connection, repository: int, digest: str, now: float) -> Iterator[str]:
    """Take a blob from a repository; yields its digest where that was the last one that had it."""
    connection.execute(sql.DROP_LINK, {"r": repository, "d": digest})
    connection.execute(sql.COUNT_UNLINK)
    if connection.execute(sql.ANY_LINK, {"d": digest}).first() is None:
        location = connection.execute(sql.BLOB, {"d": digest}).one().location
        connection.execute(sql.DROP_BLOB, {"d": digest})
        _give_up(connection, digest, location, now)
        yield digest


def _collect_blobs(connection: Connection, change: CollectBlobs, now: float) -> Outcome:
    rows = connection.execute(
        sql.UNNEEDED, {"before": change.before, "spare": list(change.spare), "limit": change.limit}
    ).all()
    garbage = [digest for row in rows for digest in _unlink(connection, row.repository_id, row.digest, now)]
    return Outcome(changed=bool(rows), digests=tuple(garbage))


def _put_manifest(connection: Connection, change: PutManifest, now: float) -> Outcome:
    manifest, digest = change.manifest, str(change.manifest.digest)
    known_repository = _repository(connection, change.repository)
    _check_references(connection, known_repository, manifest)
    before = {tag: connection.scalar(sql.TAG, {"r": known_repository, "t": tag}) for tag in change.tags}
    moved = [tag for tag in change.tags if before[tag] != digest]
    new = [tag for tag in moved if before[tag] is None]
    if moved:
        limits.check_tags(connection, change.repository, [tag for tag in moved if tag not in new], new)
    known_type = connection.scalar(sql.MANIFEST_TYPE, {"r": known_repository, "d": digest})
    if known_repository is not None and known_type not in (None, manifest.media_type):
        limits.check_delete(connection, change.repository, known_repository, digest)
    repository = known_repository or _repository_made(connection, change.repository)
    if known_type == manifest.media_type:
        for tag in moved:
            _set_tag(connection, repository, tag, digest)
            journal.append(connection, now, events.TAG_SET, change.repository, {"tag": tag, "digest": digest})
        return Outcome(changed=bool(moved))
    if known_type is not None:  # the same bytes as another type may refer to other things
        _drop_manifest(connection, repository, digest, now)
    _store(connection, repository, manifest)
    for tag in moved:
        _set_tag(connection, repository, tag, digest)
    payload = {"digest": digest, "media_type": manifest.media_type, "tags": moved}
    journal.append(connection, now, events.MANIFEST_PUT, change.repository, payload, manifest.content)
    return Outcome()


def _check_references(connection: Connection, repository: int | None, manifest: Manifest) -> None:
    for kind, statement in ((RefKind.BLOB, sql.LINKED), (RefKind.MANIFEST, sql.KNOWN_MANIFESTS)):
        wanted = [digest for digest, ref_kind in manifest.refs if ref_kind is kind]
        for digests in _portions(wanted):
            found = set(connection.scalars(statement, {"r": repository, "digests": digests}))
            missing = [digest for digest in digests if digest not in found]
            if missing:
                raise ManifestBlobUnknown(
                    f"the manifest refers to a {kind} that this repository does not have", {"digest": missing[0]}
                )


def _portions(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), _VARIABLES_AT_ONCE):
        yield digests[start : start + _VARIABLES_AT_ONCE]


def _store(connection: Connection, repository: int, manifest: Manifest) -> None:
    connection.execute(
        sql.ADD_MANIFEST,
        {
            "repository_id": repository,
            "digest": str(manifest.digest),
            "media_type": manifest.media_type,
            "content": manifest.content,
            "subject": manifest.subject,
            "artifact_type": manifest.artifact_type,
            "annotations": json.dumps(dict(manifest.annotations)),
        },
    )
    kinds = dict(manifest.refs)
    if not kinds:
        return
    connection.execute(
        sql.ADD_REFERENCE,
        [
            {"repository_id": repository, "manifest": str(manifest.digest), "target": target, "kind": str(kind)}
            for target, kind in kinds.items()
        ],
    )
    needed = [{"r": repository, "d": target, "since": None} for target in kinds]
    connection.execute(sql.SET_UNNEEDED, needed)


def _set_tag(connection: Connection, repository: int, tag: str, digest: str) -> None:
    key = {"r": repository, "t": tag}
    if connection.execute(sql.SET_TAG, {**key, "new_digest": digest}).rowcount == 0:
        connection.execute(sql.ADD_TAG, {"repository_id": repository, "name": tag, "digest": digest})


def _delete_tag(connection: Connection, change: DeleteTag, now: float) -> Outcome:
    repository = _repository(connection, change.repository)
    if repository and connection.scalar(sql.TAG, {"r": repository, "t": change.tag}) is not None:
        limits.check_tags(connection, change.repository, [change.tag], [])
    dropped = connection.execute(sql.DROP_TAG, {"r": repository, "t": change.tag}).rowcount if repository else 0
    if not dropped:
        raise ManifestUnknown("no such tag in this repository", {"tag": change.tag})
    journal.append(connection, now, events.TAG_DELETE, change.repository, {"tag": change.tag})
    return Outcome()


def _delete_manifest(connection: Connection, change: DeleteManifest, now: float) -> Outcome:
    repository = _repository(connection, change.repository)
    key = {"r": repository, "d": change.digest}
    if repository is None or connection.scalar(sql.MANIFEST_TYPE, key) is None:
        raise ManifestUnknown("no such manifest in this repository", {"digest": change.digest})
    limits.check_delete(connection, change.repository, repository, change.digest)
    connection.execute(sql.DROP_TAGS_OF, key)
    _drop_manifest(connection, repository, change.digest, now)
    journal.append(connection, now, events.MANIFEST_DELETE, change.repository, {"digest": change.digest})
    return Outcome()


def _drop_manifest(connection: Connection, repository: int, digest: str, now: float) -> None:
    """Remove a manifest; the grace time begins for what no other one needs."""
    key = {"r": repository, "d": digest}
    connection.execute(sql.BEGIN_GRACE, {**key, "since": now})
    connection.execute(sql.DROP_REFERENCES, key)
    connection.execute(sql.DROP_MANIFEST, key)
