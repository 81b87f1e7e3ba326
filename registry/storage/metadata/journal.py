"""The journal's table: append in the transaction of a change, and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from registry.domain import events
from registry.domain.events import JournalEvent
from registry.storage.metadata.schema import head, journal

_HEAD = select(head.c.serial, head.c.epoch, head.c.chain)
_INSERT = insert(journal)
_ADVANCE = update(head).values(serial=bindparam("new_serial"), chain=bindparam("new_chain"))
AFTER = (
    select(journal).where(journal.c.serial > bindparam("after")).order_by(journal.c.serial).limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class NewEvent:
    kind: str
    payload: Mapping[str, object]
    content: bytes = b""


def append(
    connection: Connection, now: float, kind: str, repository: str, payload: Mapping[str, object], content: bytes = b""
) -> int:
    """Write one event as the next of the journal and return its serial."""
    return append_all(connection, now, repository, [NewEvent(kind, payload, content)])


def append_all(connection: Connection, now: float, repository: str, told: Sequence[NewEvent]) -> int:
    """Write events of a repository as the next ones of the journal and return the last serial of all."""
    current = connection.execute(_HEAD).one()
    serial, chain = int(current.serial), current.chain
    rows = []
    for new in told:
        serial, document = serial + 1, json.dumps(new.payload, separators=(",", ":"), sort_keys=True).encode()
        chain = events.link(chain, serial, current.epoch, now, new.kind, repository, document, new.content)
        rows.append(
            {
                "serial": serial,
                "epoch": current.epoch,
                "time": now,
                "kind": new.kind,
                "repository": repository,
                "payload": document,
                "content": new.content,
                "chain": chain,
            }
        )
    if rows:
        connection.execute(_INSERT, rows)
        connection.execute(_ADVANCE, {"new_serial": serial, "new_chain": chain})
    return serial


def event_of(row: Row[Any]) -> JournalEvent:
    return JournalEvent(row.serial, row.epoch, row.time, row.kind, row.repository, row.payload, row.content, row.chain)


def last_serial(connection: Connection) -> int:
    return int(connection.execute(_HEAD).one().serial)
