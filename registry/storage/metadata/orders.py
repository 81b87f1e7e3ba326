"""What an administrator wants of a slave, what came of it, and how a repository that differs is healed."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, bindparam, func, insert, select, update

from registry.domain.changes import KeepRepair, NoteReport, OrderSlave, Outcome
from registry.domain.replica import Orders, Upstream
from registry.storage.metadata import replica
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.schema import pending, properties, upstream_log

_ORDERS, _REPORT = "slave orders", "slave report"
_VALUE = select(properties.c.value).where(properties.c.name == bindparam("of"))
_SET = update(properties).where(properties.c.name == bindparam("of")).values(value=bindparam("new"))
_ADD = insert(properties)
_WAITS = select(func.count()).select_from(pending).where(pending.c.repository == bindparam("repository"))
_TOLD_SINCE = (
    select(func.count())
    .select_from(upstream_log)
    .where(upstream_log.c.serial > bindparam("serial"), upstream_log.c.repository == bindparam("repository"))
)


def keep_repair(connection: Connection, change: KeepRepair) -> Outcome:
    upstream = Upstream.of(connection.scalar(replica.UPSTREAM) or "{}")
    this = {"repository": change.repository}
    is_there = not upstream.snapshot and upstream.serial >= max(change.end, upstream.settled)
    # What is not kept of the log any more may have been of this repository.
    if not is_there or change.serial < upstream.base_serial or connection.scalar(_WAITS, this):
        return Outcome(changed=False)
    if connection.scalar(_TOLD_SINCE, {**this, "serial": change.serial}):
        return Outcome(changed=False)
    replica.add_pending(connection, change.pending)
    return Outcome()


def order(connection: Connection, change: OrderSlave) -> Outcome:
    before = Orders.of(connection.scalar(_VALUE, {"of": _ORDERS}))
    after = before if change.paused is None else replace(before, paused=change.paused)
    if change.what:
        after = replace(after, number=before.number + 1, what=change.what, repository=change.repository)
    _note(connection, _ORDERS, after.to_text())
    return Outcome(changed=after != before)


def note_report(connection: Connection, change: NoteReport) -> Outcome:
    _note(connection, _REPORT, change.report.to_text())
    return Outcome()


def _note(connection: Connection, name: str, text: str) -> None:
    if connection.execute(_SET, {"of": name, "new": text}).rowcount == 0:
        connection.execute(_ADD, {"name": name, "value": text})


async def read_orders(rows: Rows) -> str | None:
    found: str | None = await rows.scalar(_VALUE, {"of": _ORDERS})
    return found


async def read_report(rows: Rows) -> str | None:
    found: str | None = await rows.scalar(_VALUE, {"of": _REPORT})
    return found
