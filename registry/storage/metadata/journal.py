"""The journal's table: append in the transaction of a change, and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def append(
    connection: Connection, now: float, kind: str, repository: str, payload: Mapping[str, object], content: bytes = b""
) -> int:
    """Write one event as the next of the journal and return its serial."""
    current = connection.execute(_HEAD).one()
    serial, document = current.serial + 1, json.dumps(payload, separators=(",", ":"), sort_keys=True).encode()
    chain = events.link(current.chain, serial, current.epoch, now, kind, repository, document, content)
    connection.execute(
        _INSERT,
        {
            "serial": serial,
            "epoch": current.epoch,
            "time": now,
            "kind": kind,
            "repository": repository,
            "payload": document,
            "content": content,
            "chain": chain,
        },
    )
    connection.execute(_ADVANCE, {"new_serial": serial, "new_chain": chain})
    return int(serial)


def event_of(row: Row[Any]) -> JournalEvent:
    return JournalEvent(row.serial, row.epoch, row.time, row.kind, row.repository, row.payload, row.content, row.chain)


def last_serial(connection: Connection) -> int:
    return int(connection.execute(_HEAD).one().serial)
