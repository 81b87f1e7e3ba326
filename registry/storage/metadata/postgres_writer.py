"""The writer's transactions in Postgres, one at a time over all nodes, and what becomes of one that was cut off.

The first statement of a transaction locks the row of the head. So what a change checks holds until it is made,
serials have no gaps, and they come in the order of the commits.

A connection that is lost while COMMIT runs leaves open whether that was done. Each transaction therefore leaves a
number of its own in the row of its writer. The next one, once it has the lock of the head (so that the lost one has
come to its end), looks whether the number is there. (pg_xact_status cannot tell: numbers of transactions that a crash
of the server took away are given to others afterwards.)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
from sqlalchemy import URL, Connection, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from registry.errors import RegistryError
from registry.storage.metadata.postgres import is_passing, open_engine, translate, unavailable
from registry.storage.metadata.schema import head, properties

log = structlog.get_logger(__name__)
T = TypeVar("T")

_LOCK_HEAD = select(head.c.serial).with_for_update()
_LAST = select(properties.c.value).where(properties.c.name == bindparam("writer"))
_LEAVE = insert(properties).values(name=bindparam("writer"), value=bindparam("mark"))
_LEAVE = _LEAVE.on_conflict_do_update(index_elements=[properties.c.name], set_={"value": _LEAVE.excluded.value})
_DROP = delete(properties).where(properties.c.name == bindparam("writer"))
WRITER_PREFIX = "writer "
_FORGET_AFTER = 7 * 86400
_FORGET = delete(properties).where(
    properties.c.name.like(f"{WRITER_PREFIX}%"), properties.c.value < bindparam("before")
)
_PATIENCE = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
# The lock of the head must not be held for long by a node that was stopped or cut off: all others wait for it.
_SESSION = (
    "synchronous_commit=on",
    "idle_in_transaction_session_timeout=10s",
    "tcp_keepalives_idle=5",
    "tcp_keepalives_interval=2",
    "tcp_keepalives_count=3",
)


class _Open(NamedTuple, Generic[T]):
    """A transaction of which nobody knows whether it was committed."""

    mark: str
    result: T


class _Lost(Exception):
    """The transaction did not come to its end; `undecided` where its COMMIT was on the way."""

    def __init__(self, undecided: _Open[Any] | None = None) -> None:
        super().__init__()
        self.undecided = undecided


class PostgresTransactions:
    """Transactions over one connection that is made anew when it was lost."""

    def __init__(self, url: URL) -> None:
        self._engine = open_engine(url, *_SESSION)
        self._connection: Connection | None = None
        self._writer = WRITER_PREFIX + uuid.uuid4().hex
        self._number = 0

    def run(self, work: Callable[[Connection], T]) -> T:
        give_up, pause = time.monotonic() + _PATIENCE, _FIRST_PAUSE
        undecided: _Open[T] | None = None
        while True:
            try:
                return self._attempt(work, undecided)
            except _Lost as lost:
                undecided = lost.undecided or undecided
                self._drop()
                if time.monotonic() + pause > give_up:
                    log.error("the database cannot be reached", error=str(lost.__cause__))
                    raise unavailable() from lost
            except SQLAlchemyError as error:
                raise translate(error) from error
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _attempt(self, work: Callable[[Connection], T], undecided: _Open[T] | None) -> T:
        """Raises _Lost where another attempt may do better; else what `work` raises."""
        ended: _Open[T] | None = None
        connection = self._connected()
        try:
            with connection.begin() as transaction:
                connection.execute(_LOCK_HEAD)
                if undecided and connection.scalar(_LAST, {"writer": self._writer}) == undecided.mark:
                    transaction.rollback()
                    return undecided.result
                result, mark = work(connection), self._next_mark()
                connection.execute(_LEAVE, {"writer": self._writer, "mark": mark})
                ended = _Open(mark, result)
            return result
        except DBAPIError as error:
            if is_passing(error):
                raise _Lost(ended if error.connection_invalidated else None) from error
            raise

    def _next_mark(self) -> str:
        """The time in it says which writers have long been gone."""
        self._number += 1
        return f"{int(time.time()):012} {self._number}"

    def _connected(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = self._engine.connect()
                with self._connection.begin():
                    self._connection.execute(_FORGET, {"before": f"{int(time.time()) - _FORGET_AFTER:012}"})
            except SQLAlchemyError as error:
                raise _Lost from error
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.invalidate()
            connection.close()

    def blame(self, error: DBAPIError) -> RegistryError | None:
        return None if is_passing(error) else translate(error)

    def close(self) -> None:
        try:
            if self._connection is not None:
                with self._connection.begin():
                    self._connection.execute(_DROP, {"writer": self._writer})
        except SQLAlchemyError as error:
            log.warning("the row of this writer stays in the database for some days", error=str(error))
        finally:
            self._drop()
            self._engine.dispose()
