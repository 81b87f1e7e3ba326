"""The records of accounts, groups, grants and keys: how they change, and what a process knows of them."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from registry.domain import events
from registry.domain.access import ACCOUNT, REPLICA, AccessTable, check_change, decode
from registry.domain.changes import Outcome, SetRecord
from registry.ports import AccessReader
from registry.storage.metadata import journal
from registry.storage.metadata.freshness import Freshness, Head
from registry.storage.metadata.schema import access_records, properties
from registry.storage.metadata.schema import journal as journal_table

_THIS = (access_records.c.kind == bindparam("k")) & (access_records.c.key == bindparam("name"))
_ADD = insert(access_records)
_SET = update(access_records).where(_THIS).values(value=bindparam("new_value"), private=bindparam("new_private"))
_DROP = delete(access_records).where(_THIS)
_VALUE = select(access_records.c.value).where(_THIS)
_ACCOUNTS = select(access_records.c.value).where(access_records.c.kind == ACCOUNT)
# A program of the schema before would let everybody in.
_CLOSE_TO_OLD_PROGRAMS = (
    update(properties).where(properties.c.name == "schema_needs", properties.c.value == "2").values(value="3")
)
# One of before would not know what is in the record, and could read no record at all.
_CLOSE_TO_THOSE_BEFORE_HASHES = (
    update(properties)
    .where(properties.c.name == "schema_needs", properties.c.value.in_(("2", "3", "4")))
    .values(value="5")
)

ALL = select(access_records.c.kind, access_records.c.key, access_records.c.value).order_by(
    access_records.c.kind, access_records.c.key
)
ALL_WITH_PRIVATE = select(access_records)
PRIVATE = select(access_records.c.private).where(_THIS)
CHANGED = (
    select(journal_table.c.serial, journal_table.c.kind, journal_table.c.payload)
    .where(
        journal_table.c.serial > bindparam("after"),
        # the first one, whatever it is: it says that nothing before the others was cut off
        (journal_table.c.repository == "") | (journal_table.c.serial == bindparam("after") + 1),
    )
    .order_by(journal_table.c.serial)
    .limit(bindparam("limit"))
)
_EVENTS_A_LOOK = 500


def set_record(connection: Connection, change: SetRecord, now: float) -> Outcome:
    before = connection.scalar(_VALUE, {"k": change.kind, "name": change.key}) or ""
    check_change(change, before, lambda: connection.scalars(_ACCOUNTS))
    return put_record(connection, change.kind, change.key, change.value, change.private, now)


def put_record(connection: Connection, kind: str, key: str, value: str, private: str, now: float) -> Outcome:
    """Write a record as it is, without a check, and its event."""
    this = {"k": kind, "name": key}
    before = connection.scalar(_VALUE, this) or ""
    if before == value:
        return Outcome(changed=False)
    if not value:
        connection.execute(_DROP, this)
    elif before:
        connection.execute(_SET, {**this, "new_value": value, "new_private": private})
    else:
        connection.execute(_ADD, {"kind": kind, "key": key, "value": value, "private": private})
    if kind == ACCOUNT:
        connection.execute(_CLOSE_TO_OLD_PROGRAMS)
    if kind == REPLICA:
        connection.execute(_CLOSE_TO_THOSE_BEFORE_HASHES)
    journal.append(connection, now, f"{events.AUTH}{kind}", "", {"key": key, "value": value})
    return Outcome()


class CurrentAccess:
    """The records as a table in memory, as new as the last change that was acknowledged before the question."""

    def __init__(self, reader: AccessReader, freshness: Freshness) -> None:
        self._reader = reader
        self._freshness = freshness
        self._table = AccessTable()
        self._serial = -1
        freshness.add(self._catch_up)

    async def table(self, *, looks_once: bool = False) -> AccessTable:
        self._freshness.begin(looks_once=looks_once)
        await self._freshness.ensure()
        return self._table

    async def _catch_up(self, head: Head) -> None:
        serial = head[0]
        if serial == self._serial:
            return
        # A node that has taken the place of its master goes on with another log, which may be shorter.
        is_far = not 0 <= self._serial < serial <= self._serial + _EVENTS_A_LOOK
        changes = None if is_far else await self._reader.record_changes(self._serial, _EVENTS_A_LOOK)
        if changes is None:
            table = AccessTable()
            for kind, _, value in await self._reader.records():
                table.put(decode(kind, value))
            self._table = table
        else:
            for kind, key, value in changes:
                if value:
                    self._table.put(decode(kind, value))
                else:
                    self._table.drop(kind, key)
        self._serial = serial
