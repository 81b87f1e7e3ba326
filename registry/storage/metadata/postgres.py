"""Postgres as the database: several nodes on it, every commit on its disk, reads that do not hold up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, Row, Select, create_engine, func, make_url, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from registry.errors import RegistryError, StartupError, StorageFailure, StorageFull, Unavailable
from registry.storage.metadata import versions
from registry.storage.metadata.rows import Values

log = structlog.get_logger(__name__)
T = TypeVar("T")

PREPARE_LOCK = 0x73686F616C  # "shoal"
_READERS = 5
_WAIT_FOR_A_READER = 5.0
_TRIES = 3
# A server that went away without a word is noticed by the kernel: by these, and by sent bytes that nobody confirms.
_CONNECT = {
    "connect_timeout": 3,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "application_name": "shoal",
}
_DISK_FULL = "53100"
# The classes of errors that pass: connections, resources, an operator at work, transactions that met, a server in
# recovery or one that only follows another.
_PASSING = ("08", "53", "57P", "40", "55P03", "25006")


def parse(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """For messages: without the password."""
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def connect_arguments(url: URL, *server_settings: str) -> dict[str, Any]:
    """For libpq; what the URL says goes before what is said here, but for the settings of the session."""
    arguments = {key: value for key, value in _CONNECT.items() if key not in url.query}
    options = url.query.get("options", "")
    said = [options] if isinstance(options, str) else [*options]
    arguments["options"] = " ".join([*said, *(f"-c {setting}" for setting in server_settings)]).strip()
    return arguments


def libpq_arguments(url: URL) -> dict[str, Any]:
    """All of it, for a connection without SQLAlchemy."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    return {**arguments, **connect_arguments(url)}


def open_engine(url: URL, *server_settings: str) -> Engine:
    """Connections for threads; none is kept after its use."""
    return create_engine(url, poolclass=NullPool, connect_args=connect_arguments(url, *server_settings))


def prepare(url: URL, data: str, *, may_be_new: bool = True) -> None:
    """Create the tables or bring them up to date; nodes that start at the same time do so one after the other.

    `data`: the data directory, for the message where it `may_be_new` not. Raises StartupError.
    """
    name = f"the database {shown(url)}"
    place = versions.Place(
        name,
        "another one in database.url",
        f"{data} holds blobs, but {name} is empty: copy the old database with `shoal db copy`, or name another "
        "directory with --data",
        shared=True,
    )
    with transaction(url) as connection:
        connection.execute(select(func.pg_advisory_xact_lock(PREPARE_LOCK)))
        versions.prepare(connection, place, may_be_new=may_be_new)
        _warn_of_forgetting(connection)


def version(url: URL) -> tuple[int, int] | None:
    """As versions.read. Raises StartupError."""
    with transaction(url) as connection:
        return versions.read(connection)


@contextmanager
def transaction(url: URL, **options: Any) -> Iterator[Connection]:
    """One transaction, for commands and the start. Raises StartupError."""
    engine = open_engine(url).execution_options(**options)
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StartupError(f"the database {shown(url)} cannot be used: {_told(error)}; check its URL") from error
    finally:
        engine.dispose()


def _told(error: SQLAlchemyError) -> str:
    """What the server or libpq said, on one line."""
    origin = getattr(error, "orig", None) or error
    return "; ".join(line.strip() for line in str(origin).splitlines() if line.strip())


def _warn_of_forgetting(connection: Connection) -> None:
    for name in ("fsync", "full_page_writes"):
        if connection.exec_driver_sql(f"SHOW {name}").scalar() == "off":
            log.warning("the database can lose acknowledged pushes in a crash", setting=name, value="off")


def is_passing(error: DBAPIError) -> bool:
    """Whether trying again after a while may help; what the change says is not at fault."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated:
        return True
    return state != _DISK_FULL and (state or "").startswith(_PASSING)


def translate(error: SQLAlchemyError) -> RegistryError:
    if getattr(getattr(error, "orig", None), "sqlstate", None) == _DISK_FULL:
        return StorageFull("the disk of the database is full: the change was not made")
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and is_passing(error)):
        return unavailable()
    return StorageFailure("the database failed", {"error": _told(error)[:200]})


def unavailable() -> Unavailable:
    return Unavailable("the database cannot be reached; try again later")


class PoolRows:
    """Rows of a pool of connections; a read that meets a lost connection is tried again with a new one."""

    def __init__(self, url: URL) -> None:
        self._engine: AsyncEngine = create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",
            connect_args=connect_arguments(url, "default_transaction_read_only=on"),
            pool_size=_READERS,
            max_overflow=0,
            pool_timeout=_WAIT_FOR_A_READER,
        )
        self._in_transactions = self._engine.execution_options(isolation_level="READ COMMITTED", max_row_buffer=50)

    async def all(self, statement: Select[Any], values: Values) -> Sequence[Row[Any]]:
        async def read(connection: AsyncConnection) -> Sequence[Row[Any]]:
            rows: Sequence[Row[Any]] = (await connection.execute(statement, values)).all()
            return rows

        return await self._read(read)

    async def one_or_none(self, statement: Select[Any], values: Values) -> Row[Any] | None:
        async def read(connection: AsyncConnection) -> Row[Any] | None:
            row: Row[Any] | None = (await connection.execute(statement, values)).one_or_none()
            return row

        return await self._read(read)

    async def scalar(self, statement: Select[Any], values: Values) -> Any:
        async def read(connection: AsyncConnection) -> object:
            return await connection.scalar(statement, values)

        return await self._read(read)

    @asynccontextmanager
    async def each(self, statement: Select[Any], values: Values) -> AsyncIterator[AsyncIterator[Row[Any]]]:
        with _translated():
            # the server's cursor lives in a transaction
            async with self._in_transactions.connect() as connection, connection.stream(statement, values) as rows:
                yield rows

    async def close(self) -> None:
        await self._engine.dispose()

    async def _read(self, read: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        for number in range(_TRIES):
            try:
                async with self._engine.connect() as connection:
                    return await read(connection)
            except SQLAlchemyError as error:
                if number == _TRIES - 1 or not isinstance(error, DBAPIError) or not is_passing(error):
                    raise translate_read(error) from error
                await asyncio.sleep(0.02)
        raise AssertionError


def translate_read(error: SQLAlchemyError) -> RegistryError:
    """As translate; that a connection cannot be made comes without the state that says why."""
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) is None:
        return unavailable()
    return translate(error)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise translate_read(error) from error
