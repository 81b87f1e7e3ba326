"""SQLite as the database: one writer, any number of readers (WAL), every commit on the disk (FULL)."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from registry.domain.events import CHAIN_START, EPOCH_BEGIN
from registry.errors import RegistryError, StartupError, StorageFailure, StorageFull
from registry.storage.metadata import journal
from registry.storage.metadata.schema import SCHEMA_VERSION, head, metadata, properties

FILE_NAME = "shoal.db"


def open_engine(data: Path, *, read_only: bool) -> Engine:
    """One connection to the database of a data directory, for one thread at a time."""
    engine = create_engine(
        URL.create("sqlite", database=str(data / FILE_NAME)),
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": 5},
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-16384")
        # A reader sees every commit at once, so it must not keep a transaction open between two reads.
        connection.execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")

    return engine


def prepare(data: Path, *, may_be_new: bool = True) -> None:
    """Create the tables where there are none and `may_be_new` allows it, else check their version.

    Raises StartupError.
    """
    engine = open_engine(data, read_only=False)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            metadata.create_all(connection)
            version = connection.scalar(select(properties.c.value).where(properties.c.name == "schema_version"))
            if version is None and not may_be_new:
                raise StartupError(
                    f"{data} holds blobs, but its {FILE_NAME} is missing or empty: restore it from a backup, "
                    "or name another directory with --data"
                )
            if version is None:
                _initialise(connection)
            elif int(version) > SCHEMA_VERSION:
                raise StartupError(
                    f"{data} was written by a newer version of Shoal (schema {version}, this one knows up to "
                    f"{SCHEMA_VERSION}): start that version, or name another directory with --data"
                )
            connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        raise StartupError(f"the database in {data} cannot be opened: {error.orig}") from error
    finally:
        engine.dispose()


def _initialise(connection: Connection) -> None:
    connection.execute(insert(properties), {"name": "schema_version", "value": str(SCHEMA_VERSION)})
    connection.execute(insert(head), {"id": 1, "serial": 0, "epoch": 1, "chain": CHAIN_START, "unlinks": 0})
    journal.append(connection, time.time(), EPOCH_BEGIN, "", {"id": secrets.token_hex(16)})


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the database, told as ours (at this one edge)."""
    try:
        yield
    except DBAPIError as error:
        raise translate(error) from error


def translate(error: DBAPIError) -> RegistryError:
    """SQLITE_FULL means that the disk is full; everything else is a failure of the database."""
    if getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_FULL"):
        return StorageFull("the disk is full: the change was not made")
    return StorageFailure("the database failed; the change was not made", {"error": str(error.orig)[:200]})
