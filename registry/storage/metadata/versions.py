"""Which version the schema of a database has, and how it comes to the present one."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from registry.domain.events import CHAIN_START, EPOCH_BEGIN
from registry.errors import StartupError
from registry.storage.metadata import journal
from registry.storage.metadata.schema import CURSOR_SECRET, SCHEMA_NEEDS, SCHEMA_VERSION, head, metadata, properties

_PROPERTY = select(properties.c.name, properties.c.value)
# Alembic's own table; it is written here for a new database, so that the common start does without that import.
_stamp = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


@dataclass(frozen=True, slots=True)
class Place:
    """How messages call a database, what else could be named instead, and what is wrong if it must not be new."""

    name: str
    other: str
    lost: str
    shared: bool = False


def revision(version: int) -> str:
    """What Alembic calls a version of the schema."""
    return f"{version:04}"


def read(connection: Connection) -> tuple[int, int] | None:
    """The version of the schema and the lowest one that a program must know to work with it; None where none is."""
    if not inspect(connection).has_table(properties.name):
        return None
    found = {row.name: row.value for row in connection.execute(_PROPERTY)}
    if "schema_version" not in found:
        return None
    version = int(found["schema_version"])
    return version, int(found.get("schema_needs", version))


def prepare(connection: Connection, place: Place, *, may_be_new: bool) -> None:
    """Inside the caller's transaction: make the schema what this version of Shoal works with.

    The caller sees to it that nobody else does so at the same time. Raises StartupError.
    """
    found = read(connection)
    if found is None:
        if not may_be_new:
            raise StartupError(place.lost)
        create(connection)
    elif found[0] < SCHEMA_VERSION:
        upgrade(connection, found[0])
    else:
        refuse_newer(found, place)


def refuse_newer(found: tuple[int, int], place: Place) -> None:
    """Raise StartupError for a schema that this version does not know.

    Nodes that share a database are replaced one after the other: an old one goes on with a newer schema as long
    as that says that it may.
    """
    version, needs = found
    if version > SCHEMA_VERSION and not (place.shared and needs <= SCHEMA_VERSION):
        raise StartupError(
            f"{place.name} was written by a newer version of Shoal (schema {version}, this one knows up to "
            f"{SCHEMA_VERSION}): start that version, or name {place.other}"
        )


def create(connection: Connection) -> None:
    """All tables, the first event of the journal, and the note for Alembic that nothing is left to do."""
    create_tables(connection)
    rows = {"schema_version": str(SCHEMA_VERSION), "schema_needs": str(SCHEMA_NEEDS)}
    rows[CURSOR_SECRET] = secrets.token_hex(32)
    connection.execute(insert(properties), [{"name": name, "value": value} for name, value in rows.items()])
    connection.execute(insert(head), {"id": 1, "serial": 0, "epoch": 1, "chain": CHAIN_START, "unlinks": 0})
    journal.append(connection, time.time(), EPOCH_BEGIN, "", {"id": secrets.token_hex(16)})


def create_tables(connection: Connection) -> None:
    metadata.create_all(connection)
    _stamp.create(connection)
    connection.execute(insert(_stamp), {"version_num": revision(SCHEMA_VERSION)})


def upgrade(connection: Connection, version: int) -> None:
    """Run the migrations after `version`."""
    from registry.storage.migrations import runner

    runner.upgrade(connection, None if inspect(connection).has_table(_stamp.name) else revision(version))
