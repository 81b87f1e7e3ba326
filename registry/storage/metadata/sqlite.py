"""SQLite as the database: one writer, any number of readers (WAL), every commit on the disk (FULL)."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Row, Select, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from registry.errors import RegistryError, StartupError, StorageFailure, StorageFull
from registry.storage.metadata import versions
from registry.storage.metadata.rows import Values

T = TypeVar("T")

FILE_NAME = "shoal.db"
_OTHERS = 0o007


def open_engine(data: Path, *, read_only: bool) -> Engine:
    """One connection to the database of a data directory, for one thread at a time."""
    return open_file(data / FILE_NAME, read_only=read_only)


def open_file(file: Path, *, read_only: bool) -> Engine:
    if not read_only:
        _keep_from_others(file)
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
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


def _keep_from_others(file: Path) -> None:
    """The keys that sign and hashes of passwords lie in it. What SQLite makes beside it has the same mode."""
    with suppress(OSError):  # where we may not, SQLite says what is wrong, or somebody else has set the mode
        # A file that is there is never opened: closing it would take SQLite's own locks away.
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        for found in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
            if found.exists() and (mode := found.stat().st_mode) & _OTHERS:
                found.chmod(stat.S_IMODE(mode) & ~_OTHERS)


def prepare(data: Path, *, may_be_new: bool = True) -> None:
    """Create the tables where there are none and `may_be_new` allows it, else bring them up to date.

    Raises StartupError.
    """
    place = versions.Place(
        str(data),
        "another directory with --data",
        f"{data} holds blobs, but its {FILE_NAME} is missing or empty: restore it from a backup, "
        "or name another directory with --data",
    )
    engine = open_engine(data, read_only=False)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            versions.prepare(connection, place, may_be_new=may_be_new)
            connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        raise StartupError(f"the database in {data} cannot be opened: {error.orig}") from error
    finally:
        engine.dispose()


def version(data: Path) -> tuple[int, int] | None:
    """As versions.read; None where there is no file. Raises StartupError."""
    if not (data / FILE_NAME).exists():
        return None
    engine = open_engine(data, read_only=True)
    try:
        with engine.connect() as connection:
            return versions.read(connection)
    except DBAPIError as error:
        raise StartupError(f"the database in {data} cannot be opened: {error.orig}") from error
    finally:
        engine.dispose()


class LoopRows:
    """Rows of one read-only connection, on the event loop itself.

    A read is short, and handing it to a thread costs more than the read. No call suspends.
    """

    def __init__(self, data: Path) -> None:
        self._engine = open_engine(data, read_only=True)
        self._connection = self._engine.connect()

    async def all(self, statement: Select[Any], values: Values) -> Sequence[Row[Any]]:
        with translated():
            return self._connection.execute(statement, values).all()

    async def one_or_none(self, statement: Select[Any], values: Values) -> Row[Any] | None:
        with translated():
            return self._connection.execute(statement, values).one_or_none()

    async def scalar(self, statement: Select[Any], values: Values) -> Any:
        with translated():
            return self._connection.scalar(statement, values)

    @asynccontextmanager
    async def each(self, statement: Select[Any], values: Values) -> AsyncIterator[AsyncIterator[Row[Any]]]:
        with translated(), self._connection.execute(statement, values) as rows:
            yield _without_waiting(rows)

    async def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


async def _without_waiting(rows: Iterable[Row[Any]]) -> AsyncIterator[Row[Any]]:
    for row in rows:
        yield row


class SqliteTransactions:
    """Transactions over one connection; BEGIN IMMEDIATE, so that what a change checks holds until it is made."""

    def __init__(self, data: Path) -> None:
        self._engine = open_engine(data, read_only=False)
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], T]) -> T:
        if self._connection is None:
            with translated():
                self._connection = self._engine.connect()
        try:
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
            result = work(self._connection)
            self._connection.exec_driver_sql("COMMIT")
        except DBAPIError as error:
            _roll_back(self._connection)
            raise translate(error) from error
        except BaseException:
            _roll_back(self._connection)
            raise
        return result

    def blame(self, error: DBAPIError) -> RegistryError:
        return translate(error)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()


def _roll_back(connection: Connection) -> None:
    # After SQLITE_FULL and SQLITE_IOERR the database may have rolled back by itself; then this one is refused.
    with suppress(SQLAlchemyError):
        connection.exec_driver_sql("ROLLBACK")


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
