"""Upload sessions in the database, and what the object store holds in vain: how they change, and how they are read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Float, Row, Text, bindparam, delete, insert, select, update

from registry.domain.changes import (
    BeginUpload,
    EndUpload,
    ForgetLeftovers,
    HoldUpload,
    KeepPlan,
    LinkBlob,
    Outcome,
    SaveUpload,
)
from registry.domain.upload import Leftover, StagedPart, UploadSession, object_remains
from registry.errors import BlobUploadUnknown, UploadBusy
from registry.storage.metadata.schema import leftovers, uploads

_THIS = uploads.c.id == bindparam("u")
_SELECT = select(uploads).where(_THIS)
_INSERT = insert(uploads)
_HOLD = (
    update(uploads)
    .where(_THIS)
    .values(holder=bindparam("new_holder"), held_until=bindparam("until"), tails=bindparam("new_tails"))
)
_SAVE = update(uploads).where(_THIS)
_DELETE = delete(uploads).where(_THIS)
_SAME_LEFTOVER = (leftovers.c.key == bindparam("k")) & (leftovers.c.multipart == bindparam("m"))
_ADD_LEFTOVER = insert(leftovers).from_select(
    ["key", "multipart", "since"],
    select(
        bindparam("k", type_=Text()),
        bindparam("m", type_=Text()),
        bindparam("since", type_=Float()),
    ).where(~select(leftovers.c.key).where(_SAME_LEFTOVER).exists()),
)
_KEEP_LEFTOVER = update(leftovers).where(_SAME_LEFTOVER).values(since=bindparam("now"))
_KNOWN_LEFTOVER = select(leftovers.c.key).where(_SAME_LEFTOVER)
_DROP_LEFTOVER = delete(leftovers).where(_SAME_LEFTOVER)

UPLOAD = _SELECT
IDLE = (
    select(uploads)
    .where(uploads.c.last_byte < bindparam("before"), uploads.c.held_until < bindparam("before"))
    .order_by(uploads.c.last_byte)
    .limit(100)
)
UPLOADING = (
    select(uploads.c.repository)
    .where((uploads.c.last_byte >= bindparam("since")) | (uploads.c.held_until >= bindparam("since")))
    .distinct()
)
LEFTOVERS = (
    select(leftovers.c.key, leftovers.c.multipart)
    .where(leftovers.c.since < bindparam("before"))
    .order_by(leftovers.c.since, leftovers.c.key, leftovers.c.multipart)
    .limit(100)
)


def session_of(row: Row[Any]) -> UploadSession:
    fields = dict(row._mapping)  # noqa: SLF001 - that is the public name of it in SQLAlchemy
    fields["parts"] = tuple(StagedPart(*part) for part in json.loads(fields["parts"]))
    return UploadSession(**fields)


def begin(connection: Connection, change: BeginUpload) -> Outcome:
    if connection.execute(_SELECT, {"u": change.session.id}).first() is not None:
        return Outcome(changed=False)
    connection.execute(_INSERT, _values(change.session))
    return Outcome()


def hold(connection: Connection, change: HoldUpload, now: float) -> Outcome:
    row = connection.execute(_SELECT, {"u": change.upload}).one_or_none()
    if row is None or row.repository != change.repository:
        raise _unknown(change.upload)
    if row.holder not in ("", change.holder) and row.held_until > change.now:
        raise UploadBusy("another request is writing to this upload", {"upload": change.upload})
    tails = row.tails
    if row.holder not in ("", change.holder):
        leave_behind(connection, [Leftover(session_of(row).next_tail)], now)
        tails += 1
    values = {"u": change.upload, "new_holder": change.holder, "until": change.until, "new_tails": tails}
    connection.execute(_HOLD, values)
    return Outcome()


def save(connection: Connection, change: SaveUpload, now: float) -> Outcome:
    before = _held(connection, change.session.id, change.holder)
    if before.tail not in ("", change.session.tail):
        leave_behind(connection, [Leftover(before.tail)], now)
    connection.execute(_SAVE.values(**_values(change.session)), {"u": change.session.id})
    return Outcome()


def end(connection: Connection, change: EndUpload, now: float) -> Outcome:
    row = connection.execute(_SELECT, {"u": change.upload}).one_or_none()
    if row is None:
        return Outcome(changed=False)
    session = _held(connection, change.upload, change.holder)
    leave_behind(connection, session.leftovers(), now)
    connection.execute(_DELETE, {"u": change.upload})
    return Outcome()


def become_blob(connection: Connection, change: LinkBlob, now: float) -> None:
    """End the session whose bytes are the blob; the bytes of one that is not held may be about to be removed."""
    session = _held(connection, change.upload, change.holder)
    leave_behind(connection, session.leftovers_beside(change.location), now)
    connection.execute(_DELETE, {"u": change.upload})


def forget(connection: Connection, change: ForgetLeftovers) -> Outcome:
    for leftover in change.leftovers:
        connection.execute(_DROP_LEFTOVER, {"k": leftover.key, "m": leftover.multipart})
    return Outcome()


def keep_plan(connection: Connection, change: KeepPlan, now: float) -> Outcome:
    planned = [{"k": leftover.key, "m": leftover.multipart, "now": now} for leftover in object_remains(change.key)]
    kept = [connection.execute(_KEEP_LEFTOVER, values).rowcount for values in planned]
    return Outcome(changed=any(kept))


def is_planned(connection: Connection, key: str) -> bool:
    """Whether what an object leaves is known still, so that no collector has taken any of it."""
    places = [{"k": leftover.key, "m": leftover.multipart} for leftover in object_remains(key)]
    return all(connection.execute(_KNOWN_LEFTOVER, place).first() is not None for place in places)


def leave_behind(connection: Connection, found: Iterable[Leftover], now: float) -> None:
    for leftover in found:
        connection.execute(_ADD_LEFTOVER, {"k": leftover.key, "m": leftover.multipart, "since": now})


def _held(connection: Connection, upload: str, holder: str) -> UploadSession:
    row = connection.execute(_SELECT, {"u": upload}).one_or_none()
    if row is None or row.holder != holder:
        raise _unknown(upload)
    return session_of(row)


def _values(session: UploadSession) -> dict[str, Any]:
    fields = asdict(session)
    fields["parts"] = json.dumps([[part.etag, part.size, part.crc32] for part in session.parts])
    return fields


def _unknown(upload: str) -> BlobUploadUnknown:
    return BlobUploadUnknown("no such upload: it ended, was cancelled or expired", {"upload": upload[:64]})
