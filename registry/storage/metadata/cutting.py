"""Cutting a log: its oldest events go, some at a time, and what is left says where it begins."""

from __future__ import annotations

import json
from dataclasses import replace

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from registry.domain.changes import CutLog, Outcome
from registry.domain.events import CHAIN_START
from registry.domain.replica import Upstream
from registry.storage.metadata import replica
from registry.storage.metadata.schema import journal, properties, upstream_log

_BASE = properties.c.name == "journal base"
BASE = select(properties.c.value).where(_BASE)
_SET_BASE = update(properties).where(_BASE).values(value=bindparam("new"))
_ADD_BASE = insert(properties).values(name="journal base")


def base_of(text: str | None) -> tuple[int, bytes]:
    """Serial and chain of the event before the first one that is kept: of none where none was cut off."""
    if not text:
        return 0, CHAIN_START
    serial, chain = json.loads(text)
    return serial, bytes.fromhex(chain)


def note_base(connection: Connection, serial: int, chain: str) -> None:
    """The journal begins after that event."""
    text = json.dumps([serial, chain])
    if connection.execute(_SET_BASE, {"new": text}).rowcount == 0:
        connection.execute(_ADD_BASE, {"value": text})


def cut_log(connection: Connection, change: CutLog) -> Outcome:
    """`changed` while there may be more to cut."""
    log = upstream_log if change.of_upstream else journal
    ends = connection.execute(select(func.min(log.c.serial), func.max(log.c.serial))).one()
    if ends[0] is None:
        return Outcome(changed=False)
    before = min(change.before, ends[0] + change.most, ends[1])  # the last event stays, whatever is asked
    if before <= ends[0]:
        return Outcome(changed=False)
    last = connection.execute(select(log.c.serial, log.c.epoch, log.c.chain).where(log.c.serial == before - 1)).one()
    if change.of_upstream:
        known = Upstream.of(connection.scalar(replica.UPSTREAM) or "{}")
        base = {"base_serial": last.serial, "base_epoch": last.epoch, "base_chain": last.chain.hex()}
        replica.note(connection, replace(known, **base))
    else:
        note_base(connection, last.serial, last.chain.hex())
    _drop(connection, log, before)
    return Outcome(changed=True)


def _drop(connection: Connection, log: Table, before: int) -> None:
    connection.execute(delete(log).where(log.c.serial < before))
