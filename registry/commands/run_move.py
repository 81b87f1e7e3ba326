"""Runs a move of the storage: notes it in the database, where the node finds it, and follows how far it is."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from registry.config import Settings
from registry.domain.changes import NoteMove
from registry.domain.move import MoveState, StorageMove
from registry.errors import DataInUse, RegistryError, StartupError
from registry.processes.move_target import here, node_of, refuse_other_bucket, storage_of
from registry.storage.data_lock import sole_use
from registry.storage.metadata.apply import apply
from registry.storage.metadata.databases import Database
from registry.storage.metadata.statements import MOVE
from registry.wiring import database_of

T = TypeVar("T")

_LOOK_EVERY = 0.3  # seconds
_NODE_ANSWERS_WITHIN = 30.0  # seconds
_STOPPED_FOR = 30.0  # seconds; a node that is started again goes on by then
_SILENT_FOR = 120.0  # seconds; a node tells more often that it is at it, also in the middle of a large blob


def move_storage(settings: Settings, target: Path, on_progress: Callable[[StorageMove], None]) -> StorageMove:
    """Have the node on settings.data move all blobs to where `target` says; its end. Raises StartupError, ConfigError.

    A move that runs already is followed.
    """
    wanted = storage_of(target, settings)
    refuse_other_bucket(settings.storage, wanted, target)
    _refuse_without_node(settings.data)
    database = database_of(settings)
    host, data = here(settings.data)
    into_bucket = wanted.kind == "s3"
    new = StorageMove(
        uuid.uuid4().hex, str(target.resolve()), into_bucket, node_of(settings.data), host, data, time.time()
    )
    try:
        return asyncio.run(_followed(database, settings.data, _begin(database, new), on_progress))
    except RegistryError as error:
        raise StartupError(f"{error.message}; the move goes on, and running this again shows it") from error


def _refuse_without_node(data: Path) -> None:
    if not _is_served(data):
        raise StartupError(
            f"no server runs on {data}, and that would do the moving: start one, or name another with --data"
        )


def _is_served(data: Path) -> bool:
    if data.is_dir():
        try:
            with sole_use(data):
                pass
        except DataInUse:
            return True
    return False


def _begin(database: Database, new: StorageMove) -> StorageMove:
    """Note a new move, unless one goes on: then that one, if it is the same. Raises StartupError."""

    def begin(connection: Connection) -> StorageMove:
        text = connection.scalar(MOVE) or ""
        before = StorageMove.parse(text)
        if before is None or not before.goes_on:
            apply(connection, NoteMove(text, new.to_text()), time.time())
            return new
        if (before.settings, before.into_bucket) != (new.settings, new.into_bucket):
            raise StartupError(f"a move to {before.settings} goes on: let it end first (run this with that file)")
        return before

    return _changed(database, begin)


def _refuse(database: Database, move: StorageMove) -> None:
    refused = replace(move, state=MoveState.REFUSED, why="its node did not answer")
    note = NoteMove(move.to_text(), refused.to_text())
    _changed(database, lambda connection: apply(connection, note, time.time()))


def _changed(database: Database, work: Callable[[Connection], T]) -> T:
    transactions = database.transactions()
    try:
        return transactions.run(work)
    finally:
        transactions.close()


async def _followed(
    database: Database, data: Path, begun: StorageMove, on_progress: Callable[[StorageMove], None]
) -> StorageMove:
    reader, watch = database.reader(), _Watch(data)
    try:
        while True:
            now = StorageMove.parse(await reader.move())
            if now is None or now.id != begun.id:
                raise StartupError("another move has begun meanwhile: run this again")
            on_progress(now)
            if now.state is MoveState.DONE:
                return now
            if now.state is MoveState.REFUSED:
                raise StartupError(f"nothing was moved: {now.why}")
            if now.state is MoveState.FAILED:
                raise StartupError(
                    f"the move has failed after {now.blobs} blobs, and new ones go where they went before: {now.why}; "
                    "mend that and run this again"
                )
            if (silent := watch.silent(now)) is not None:
                if now.state is MoveState.PREPARING:
                    await asyncio.to_thread(_refuse, database, now)
                    raise StartupError(f"nothing was moved: {silent}")
                raise StartupError(f"{silent}; the move goes on then, and running this again shows it")
            await asyncio.sleep(_LOOK_EVERY)
    finally:
        await reader.close()


class _Watch:
    """Whether the node that moves has gone. By the clock of this process alone: those of the hosts need not agree."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._last: StorageMove | None = None
        self._changed = 0.0

    def silent(self, now: StorageMove) -> str | None:
        """What is to be done about it; None while there is no reason to worry."""
        if now != self._last:
            self._last, self._changed = now, time.monotonic()
        seconds = time.monotonic() - self._changed
        place = f"{now.data} on {now.host}"
        if now.state is MoveState.PREPARING:
            answers = seconds <= _NODE_ANSWERS_WITHIN
            return None if answers else f"the server on {place} does not answer to it: see its log"
        if seconds > _STOPPED_FOR and now.node == node_of(self._data) and not _is_served(self._data):
            return f"the server on {place} has stopped: start it again"
        if seconds > _SILENT_FOR:
            return f"nothing was heard of the server on {place} for {seconds:.0f} s: see its log, and start it again"
        return None
