"""The tables of a slave: the log above it, what it does not show yet, and how that becomes visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from registry.domain import access as domain
from registry.domain import events
from registry.domain.changes import KeepEvents, KeepSnapshot, NoteTransfer, Outcome
from registry.domain.events import JournalEvent
from registry.domain.replica import Pending, Transfer, Upstream
from registry.storage.metadata import access
from registry.storage.metadata.schema import pending, properties, transfers, upstream_log

_UPSTREAM = properties.c.name == "upstream"
UPSTREAM = select(properties.c.value).where(_UPSTREAM)
_SET_UPSTREAM = update(properties).where(_UPSTREAM).values(value=bindparam("new"))
_ADD_UPSTREAM = insert(properties).values(name="upstream")
_DROP_UPSTREAM = delete(properties).where(_UPSTREAM)

_ADD_EVENT, _DROP_EVENTS = insert(upstream_log), delete(upstream_log)
EVENT = select(upstream_log).where(upstream_log.c.serial == bindparam("serial"))
EVENTS_AFTER = (
    select(upstream_log)
    .where(upstream_log.c.serial > bindparam("after"))
    .order_by(upstream_log.c.serial)
    .limit(bindparam("limit"))
)

_ADD_PENDING, _DROP_ALL_PENDING = insert(pending), delete(pending)
_DROP_PENDING = delete(pending).where(
    pending.c.repository == bindparam("name"), pending.c.number <= bindparam("through")
)
PENDING = (
    select(pending)
    .where(pending.c.repository == bindparam("repository"), pending.c.number > bindparam("after"))
    .order_by(pending.c.number)
    .limit(bindparam("limit"))
)
PENDING_REPOSITORIES = select(pending.c.repository).distinct().order_by(pending.c.repository)
WAITING, FIRST_WAITING = select(func.count()).select_from(pending), select(func.min(pending.c.serial))

_FIRST_OF_EACH = func.min(pending.c.serial)
WAITING_REPOSITORIES = (
    select(pending.c.repository, _FIRST_OF_EACH.label("first"))
    .group_by(pending.c.repository)
    .order_by(_FIRST_OF_EACH, pending.c.repository)
    .limit(bindparam("limit"))
)
HOW_MANY_WAIT = select(func.count(pending.c.repository.distinct()))

_THIS_TRANSFER = transfers.c.digest == bindparam("d")
TRANSFER = select(transfers).where(_THIS_TRANSFER)
_DROP_TRANSFER = delete(transfers).where(_THIS_TRANSFER)
_ADD_TRANSFER, _DROP_ALL_TRANSFERS = insert(transfers), delete(transfers)

_RETIRES = 60 * 86400.0  # seconds; keys of others sign for half of it, and what they signed is valid as long again


def keep_events(connection: Connection, change: KeepEvents, now: float) -> Outcome:
    known = Upstream.of(connection.scalar(UPSTREAM) or "{}")
    after = known.serial
    new = [event for event in change.events if event.serial > after]  # else the answer was lost, and they came again
    if new:
        connection.execute(_ADD_EVENT, [_row(event) for event in new])
    waiting = [_waits(event) for event in new if not event.kind.startswith((events.AUTH, events.EPOCH_BEGIN))]
    if waiting:
        connection.execute(_ADD_PENDING, waiting)
    for event in new:
        if event.kind.startswith(events.AUTH):
            _set_record(connection, *events.record_of(event.kind, event.payload), now)
    # Where the log that is kept begins is for whoever cuts it to say.
    serial, epoch, chain = known.base_serial, known.base_epoch, known.base_chain
    note(connection, replace(change.upstream, base_serial=serial, base_epoch=epoch, base_chain=chain))
    return Outcome(changed=bool(new))


def keep_snapshot(connection: Connection, change: KeepSnapshot, now: float) -> Outcome:
    if change.begins:
        connection.execute(_DROP_EVENTS)
        connection.execute(_DROP_ALL_PENDING)
    if change.records is not None:
        told = {(kind, key) for kind, key, _ in change.records}
        for row in connection.execute(access.ALL_WITH_PRIVATE).all():
            if (row.kind, row.key) not in told and not row.private:
                _set_record(connection, row.kind, row.key, "", now)
        for kind, key, value in change.records:
            _set_record(connection, kind, key, value, now)
    if change.pending:
        connection.execute(_ADD_PENDING, [_pending_row(each) for each in change.pending])
    note(connection, change.upstream)
    return Outcome()


def note_transfer(connection: Connection, change: NoteTransfer) -> Outcome:
    transfer = change.transfer
    connection.execute(_DROP_TRANSFER, {"d": transfer.digest})
    if transfer.upload:
        row = {"digest": transfer.digest, "repository": transfer.repository, "upload": transfer.upload}
        connection.execute(_ADD_TRANSFER, row)
    return Outcome()


def detach(connection: Connection) -> Outcome:
    for statement in (_DROP_EVENTS, _DROP_ALL_PENDING, _DROP_ALL_TRANSFERS):
        connection.execute(statement)
    return Outcome(changed=connection.execute(_DROP_UPSTREAM).rowcount > 0)


def drop_pending(connection: Connection, repository: str, through: int) -> None:
    connection.execute(_DROP_PENDING, {"name": repository, "through": through})


def add_pending(connection: Connection, told: Sequence[Pending]) -> None:
    connection.execute(_ADD_PENDING, [_pending_row(each) for each in told])


def pending_of(row: Row[Any]) -> Pending:
    return Pending(
        row.number, row.repository, row.serial, row.kind, row.payload, row.content, is_snapshot=bool(row.is_snapshot)
    )


def transfer_of(row: Row[Any]) -> Transfer:
    return Transfer(row.digest, row.repository, row.upload)


def note(connection: Connection, upstream: Upstream) -> None:
    if connection.execute(_SET_UPSTREAM, {"new": upstream.to_text()}).rowcount == 0:
        connection.execute(_ADD_UPSTREAM, {"value": upstream.to_text()})


def _row(event: JournalEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in upstream_log.c.keys()}  # noqa: SIM118 - no mapping


def _waits(event: JournalEvent) -> dict[str, object]:
    return _pending_row(Pending(0, event.repository, event.serial, event.kind, event.payload, event.content))


def _pending_row(each: Pending) -> dict[str, object]:
    return {
        "repository": each.repository,
        "serial": each.serial,
        "kind": each.kind,
        "payload": each.payload,
        "content": each.content,
        "is_snapshot": int(each.is_snapshot),
    }


def _set_record(connection: Connection, kind: str, key: str, value: str, now: float) -> None:
    """A record as the master has it. It was checked there; a key of the master only verifies here.

    One of a kind that a newer master has says nothing to this program.
    """
    if kind not in domain.KINDS:
        return
    if kind == domain.KEY and value:
        record = domain.decode(kind, value)
        assert isinstance(record, domain.PublicKey)
        value = domain.encode(replace(record, retired=record.retired or record.created + _RETIRES))
    access.put_record(connection, kind, key, value, "", now)
