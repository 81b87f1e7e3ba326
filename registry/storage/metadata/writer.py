"""The one writer of the database: changes of all clients in one thread, many to a commit."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from registry.domain.changes import (
    Change,
    DeleteBlob,
    DeleteManifest,
    DeleteTag,
    KeepEvents,
    KeepRepair,
    KeepSnapshot,
    Outcome,
    PutManifest,
    SetRecord,
)
from registry.domain.clock import Clock
from registry.errors import RegistryError, StorageFailure, Unavailable
from registry.storage.metadata import journal, succession
from registry.storage.metadata.apply import apply
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.transactions import Transactions

log = structlog.get_logger(__name__)

_CHANGES_A_COMMIT = 256
_WAITING_CHANGES = 2_000
_OF_CLIENTS = PutManifest, DeleteTag, DeleteManifest, DeleteBlob, SetRecord
"""What is refused in the transaction itself once another node writes the log: nothing is acknowledged and then lost."""
_OF_SLAVES = KeepEvents, KeepSnapshot, KeepRepair
"""What another node that shares the database, and does not know yet, would go on with after this one was promoted."""

CommitObserver = Callable[[int, int], None]
"""Told after each commit, in the writer's thread: how many changes it held, the last serial of the journal."""


@dataclass(slots=True)
class _Waiting:
    change: Change
    answer: asyncio.Future[Outcome]
    outcome: Outcome | RegistryError | None = None


class _ChokedError(Exception):
    """The database could not take one change; nothing is wrong with the others of its batch."""

    def __init__(self, waiting: _Waiting, error: RegistryError) -> None:
        self.waiting = waiting
        self.error = error


class GroupCommitWriter:
    """Takes changes from the event loop and commits all that wait in one transaction.

    A client's change is acknowledged after the fsync of its commit; while that runs, the changes of
    other clients gather for the next one.
    """

    def __init__(
        self, transactions: Transactions, commits: CommitCounter, clock: Clock, on_commit: CommitObserver
    ) -> None:
        self._transactions = transactions
        self._commits = commits
        self._clock = clock
        self._on_commit = on_commit
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(_WAITING_CHANGES)
        self._thread = threading.Thread(target=self._run, name="database writer", daemon=True)
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Commit what waits, then end the thread."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._transactions.close)

    async def submit(self, change: Change) -> Outcome:
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        try:
            self._queue.put_nowait(_Waiting(change, answer))
        except queue.Full:
            raise Unavailable("too many changes wait for the database; try again later") from None
        return await answer

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = self._gather(first)
            self._commit(batch)
            self._loop.call_soon_threadsafe(_answer, batch)
            if last:
                return

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        batch = [first]
        with suppress(queue.Empty):
            while len(batch) < _CHANGES_A_COMMIT:
                waiting = self._queue.get_nowait()
                if waiting is None:
                    return batch, True
                batch.append(waiting)
        return batch, False

    def _commit(self, batch: list[_Waiting]) -> None:
        left = batch
        while left:
            try:
                self._transaction(left)
            except _ChokedError as choked:
                # One change that the database cannot take must not fail those that came with it.
                choked.waiting.outcome = choked.error
                left = [waiting for waiting in left if waiting is not choked.waiting]
            except RegistryError as error:
                _fail(left, error)
                return
            except Exception as error:  # whatever it was, the thread goes on: nobody else makes changes
                log.exception("changes could not be made")
                _fail(left, StorageFailure("the database failed", {"error": repr(error)[:200]}))
                return
            else:
                return

    def _apply(self, connection: Connection, waiting: _Waiting) -> None:
        try:
            waiting.outcome = apply(connection, waiting.change, self._clock())
        except RegistryError as refusal:
            waiting.outcome = refusal
        except DBAPIError as error:
            blamed = self._transactions.blame(error)
            if blamed is None:
                raise
            raise _ChokedError(waiting, blamed) from error
        except Exception as error:
            failure = StorageFailure("a change could not be made", {"error": repr(error)[:200]})
            raise _ChokedError(waiting, failure) from error

    def _refusals(self, connection: Connection, batch: list[_Waiting]) -> Mapping[type[Change], RegistryError]:
        """By kinds of changes, where who writes the log decides: most batches have none of these."""
        if not any(isinstance(waiting.change, (*_OF_CLIENTS, *_OF_SLAVES)) for waiting in batch):
            return {}
        standing = succession.standing(connection)
        if standing.promoted:
            error = Unavailable("this registry follows no other one any more, and writes its own log")
            return dict.fromkeys(_OF_SLAVES, error)
        refusal = standing.refusal(self._clock())
        return dict.fromkeys(_OF_CLIENTS, refusal) if refusal is not None else {}

    def _transaction(self, batch: list[_Waiting]) -> None:
        def work(connection: Connection) -> int:
            refusals = self._refusals(connection, batch)
            for waiting in batch:
                waiting.outcome = refusals.get(type(waiting.change))
                if waiting.outcome is None:
                    self._apply(connection, waiting)
            return journal.last_serial(connection)

        serial = self._transactions.run(work)
        self._commits.increment()
        self._on_commit(len(batch), serial)


def _fail(batch: list[_Waiting], error: RegistryError) -> None:
    for waiting in batch:
        waiting.outcome = error


def _answer(batch: list[_Waiting]) -> None:
    for waiting in batch:
        if waiting.answer.done():  # the client has gone; its change is made all the same
            continue
        if isinstance(waiting.outcome, Outcome):
            waiting.answer.set_result(waiting.outcome)
        else:
            waiting.answer.set_exception(waiting.outcome or StorageFailure("the change was not made"))
