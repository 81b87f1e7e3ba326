"""All metadata, with its journal, from one database into another that is empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, func, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from registry.domain import events
from registry.errors import StartupError
from registry.storage.data_lock import sole_use
from registry.storage.metadata import cutting, journal, postgres, sqlite, versions
from registry.storage.metadata.postgres_writer import WRITER_PREFIX
from registry.storage.metadata.schema import SCHEMA_VERSION, head, metadata, pending, properties, repositories
from registry.storage.metadata.schema import journal as journal_table

Progress = Callable[[str, int, int], None]
"""Told what is under way, how much of it is done, and how much there is."""

_ROWS_AT_ONCE = 200
_SQLITE = "sqlite:///"


def copy(source: str, target: str, progress: Progress, *, beside_nodes: bool = False) -> int:
    """Copy everything in one transaction, compare, and return how many events the journal has.

    The URLs are `sqlite:///PATH` or `postgresql://…`. No node may use them meanwhile, as what it changes is lost;
    but for a source `beside_nodes`, of which the copy shows one moment. The bytes of blobs are not in a database and
    stay where they are. Raises StartupError; the target is empty then.
    """
    with ExitStack() as stack:
        old = stack.enter_context(_read(source, alone=not beside_nodes))
        _check_source(old, source)
        new = stack.enter_context(_write(target))
        if inspect(new).get_table_names():
            raise StartupError(f"{_shown(target)} is not empty: name a new database with --to")
        versions.create_tables(new)
        for table in metadata.sorted_tables:
            _copy_table(old, new, table, progress)
        if new.dialect.name == "postgresql":
            _go_on_counting(new)
        return _compare(old, new, progress)


def journal_end(url: str) -> tuple[int, bytes]:
    """The serial and the chain of the last event in a database, as a `copy` of it has them. Raises StartupError."""
    with _read(url, alone=False) as connection:
        last = connection.execute(select(head)).one()
    return last.serial, last.chain


def _check_source(connection: Connection, url: str) -> None:
    found = versions.read(connection)
    if found is None:
        raise StartupError(f"{_shown(url)} holds no metadata of Shoal: name another with --from")
    if found[0] != SCHEMA_VERSION:
        raise StartupError(
            f"{_shown(url)} has schema {found[0]}, this version copies schema {SCHEMA_VERSION}: "
            "bring it up to date with `shoal db upgrade`, or take a newer version"
        )


def _rows_of(table: Table) -> Select[Any]:
    rows = select(table)
    return rows.where(~properties.c.name.startswith(WRITER_PREFIX)) if table is properties else rows


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(_rows_of(table).subquery())) or 0


def _streamed(connection: Connection, statement: Select[Any]) -> Iterator[list[Row[Any]]]:
    with connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(statement) as rows:
        for portion in rows.partitions():
            yield list(portion)


def _copy_table(old: Connection, new: Connection, table: Table, progress: Progress) -> None:
    done, count = 0, _count(old, table)
    progress(table.name, 0, count)
    for rows in _streamed(old, _rows_of(table)):
        new.execute(insert(table), [dict(row._mapping) for row in rows])  # noqa: SLF001 - public in SQLAlchemy
        done += len(rows)
        progress(table.name, done, count)


def _go_on_counting(connection: Connection) -> None:
    """The numbers of new rows follow those that were copied."""
    for column in (repositories.c.id, pending.c.number):
        sequence = func.pg_get_serial_sequence(column.table.name, column.name)
        connection.execute(select(func.setval(sequence, func.coalesce(func.max(column), 0) + 1, False)))


def _compare(old: Connection, new: Connection, progress: Progress) -> int:
    for table in metadata.sorted_tables:
        counts = _count(old, table), _count(new, table)
        if counts[0] != counts[1]:
            raise StartupError(f"the copy is not complete: {table.name} has {counts[1]} rows of {counts[0]}")
    last = new.execute(select(head)).one()
    serial, chain = cutting.base_of(new.scalar(cutting.BASE))
    for rows in _streamed(new, select(journal_table).order_by(journal_table.c.serial)):
        for row in rows:
            event = journal.event_of(row)
            if event.serial != serial + 1 or not events.verify(chain, event):
                raise StartupError(f"the chain of the journal is broken at serial {serial + 1}: nothing was copied")
            chain, serial = event.chain, event.serial
        progress("the chain of the journal", serial, last.serial)
    if (serial, chain) != (last.serial, last.chain):
        raise StartupError(f"the journal ends at serial {serial}, its head says {last.serial}: nothing was copied")
    return serial


@contextmanager
def _read(url: str, *, alone: bool) -> Iterator[Connection]:
    """One view of the whole database, whatever happens in it meanwhile."""
    if not url.startswith(_SQLITE):
        with postgres.transaction(postgres.parse(url), isolation_level="REPEATABLE READ") as connection:
            yield connection
        return
    file = Path(url.removeprefix(_SQLITE))
    if not file.is_file():
        raise StartupError(f"there is no file {file}: name another with --from")
    with sole_use(file.parent) if alone else nullcontext(), _file(file, "BEGIN", read_only=True) as connection:
        yield connection


@contextmanager
def _write(url: str) -> Iterator[Connection]:
    if not url.startswith(_SQLITE):
        with postgres.transaction(postgres.parse(url)) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(postgres.PREPARE_LOCK)))
            yield connection
        return
    file = Path(url.removeprefix(_SQLITE))
    with sole_use(file.parent), _file(file, "BEGIN IMMEDIATE", read_only=False) as connection:
        yield connection


@contextmanager
def _file(file: Path, begin: str, *, read_only: bool) -> Iterator[Connection]:
    engine = sqlite.open_file(file, read_only=read_only)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(begin)
            yield connection
            connection.exec_driver_sql("COMMIT")
    except DBAPIError as error:
        raise StartupError(f"the database {file} cannot be used: {error.orig}") from error
    finally:
        engine.dispose()


def _shown(url: str) -> str:
    return url if url.startswith(_SQLITE) else postgres.shown(postgres.parse(url))
