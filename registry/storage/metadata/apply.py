"""How a change is made: every check first, then every write, all inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from registry.domain.changes import (
    BeginUpload,
    Change,
    CollectBlobs,
    CopyBlob,
    CutLog,
    DeleteBlob,
    DeleteManifest,
    DeleteTag,
    Demote,
    Detach,
    EndUpload,
    ForgetGarbage,
    ForgetLeftovers,
    HoldUpload,
    KeepBlob,
    KeepEvents,
    KeepPlan,
    KeepRepair,
    KeepSnapshot,
    LinkBlob,
    MountBlob,
    MoveBlob,
    NoteMove,
    NoteReport,
    NoteTransfer,
    OrderSlave,
    Outcome,
    PlanObject,
    Promote,
    PutManifest,
    SaveUpload,
    SetRecord,
    SetStanding,
    ShareBlob,
    Show,
)
from registry.domain.upload import Leftover, object_remains
from registry.errors import BlobInUse, BlobUnknown
from registry.storage.metadata import (
    access,
    cutting,
    limits,
    manifests,
    orders,
    replica,
    sessions,
    showing,
    succession,
)
from registry.storage.metadata import statements as sql


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
            return manifests.put_manifest(connection, change, now)
        case DeleteTag():
            return manifests.delete_tag(connection, change, now)
        case DeleteManifest():
            return manifests.delete_manifest(connection, change, now)
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
        case KeepEvents():
            return replica.keep_events(connection, change, now)
        case KeepSnapshot():
            return replica.keep_snapshot(connection, change, now)
        case NoteTransfer():
            return replica.note_transfer(connection, change)
        case KeepRepair():
            return orders.keep_repair(connection, change)
        case OrderSlave():
            return orders.order(connection, change)
        case NoteReport():
            return orders.note_report(connection, change)
        case CutLog():
            return cutting.cut_log(connection, change)
        case Detach():
            return replica.detach(connection)
        case Promote():
            return succession.promote(connection, change, now)
        case Demote():
            return succession.demote(connection)
        case SetStanding():
            return succession.set_standing(connection, change)
        case Show():
            return showing.show(connection, change, now)
        case CopyBlob():
            return _become_blob(connection, change.link, now)
        case ShareBlob():
            return _share_blob(connection, change, now)


def _link_blob(connection: Connection, change: LinkBlob, now: float) -> Outcome:
    limits.check_blob(connection, change.repository, change.digest, change.size)
    return _become_blob(connection, change, now)


def _become_blob(connection: Connection, change: LinkBlob, now: float) -> Outcome:
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
    return _link(connection, manifests.repository_made(connection, change.repository), change.digest, now)


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
        source = manifests.repository_of(connection, change.source)
        if source is None or connection.execute(sql.LINK, {"r": source, "d": change.digest}).first() is None:
            raise unknown
    limits.check_blob(
        connection, change.repository, change.digest, connection.execute(sql.BLOB, {"d": change.digest}).one().size
    )
    return _link(connection, manifests.repository_made(connection, change.repository), change.digest, now)


def _share_blob(connection: Connection, change: ShareBlob, now: float) -> Outcome:
    if connection.execute(sql.ANY_LINK, {"d": change.digest}).first() is None:
        raise BlobUnknown("no repository has the blob", {"digest": change.digest})
    return _link(connection, manifests.repository_made(connection, change.repository), change.digest, now)


def _keep_blob(connection: Connection, change: KeepBlob, now: float) -> Outcome:
    repository = manifests.repository_of(connection, change.repository)
    key = {"r": repository, "d": change.digest}
    link = connection.execute(sql.LINK, key).one_or_none()
    if link is None:
        raise BlobUnknown("no such blob in this repository", {"digest": change.digest})
    if link.unneeded_since is not None:
        connection.execute(sql.SET_UNNEEDED, {**key, "since": now})
    return Outcome()


def _delete_blob(connection: Connection, change: DeleteBlob, now: float) -> Outcome:
    repository = manifests.repository_of(connection, change.repository)
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
