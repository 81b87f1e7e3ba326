"""A move of the storage put together: what the command writes, and how a node takes over what it says."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from registry import parts
from registry.config import ConfigError, Settings, StorageSettings, load
from registry.domain.changes import NoteMove
from registry.domain.move import MoveState, StorageMove
from registry.errors import DataInUse, RegistryError, StartupError
from registry.storage.data_lock import sole_use
from registry.storage.metadata import databases
from registry.storage.metadata.apply import apply
from registry.storage.metadata.databases import Database
from registry.storage.metadata.statements import MOVE

T = TypeVar("T")

_LOOK_EVERY = 0.3
_NODE_ANSWERS_WITHIN = 30.0


def here(data: Path) -> tuple[str, str]:
    """How a node is called in the database: its host and its data directory."""
    return socket.gethostname(), str(data.resolve())


def move_storage(settings: Settings, target: Path, told: Callable[[StorageMove], None]) -> StorageMove:
    """Have the node on settings.data move all blobs to where `target` says; its end. Raises StartupError, ConfigError.

    A move that runs already is followed.
    """
    wanted = storage_of(target, settings)
    _refuse_other_bucket(settings.storage, wanted, target)
    _refuse_without_node(settings.data)
    database = databases.chosen(settings.database.url, settings.data)
    host, data = here(settings.data)
    into_bucket = wanted.kind == "s3"
    new = StorageMove(uuid.uuid4().hex, str(target.resolve()), into_bucket, host, data, time.time())
    try:
        return asyncio.run(_followed(database, _begin(database, new), told))
    except RegistryError as error:
        raise StartupError(f"{error.message}; the move goes on, and running this again shows it") from error


def storage_of(target: Path, settings: Settings) -> StorageSettings:
    """[storage] of a settings file to which a node with `settings` can move; raises StartupError."""
    try:
        wanted = load(target, {"data": str(settings.data)})
    except ConfigError as error:
        raise StartupError("; ".join(str(error).splitlines())) from error
    if wanted.database.url != settings.database.url:
        raise StartupError(f"{target} names another database: a move changes [storage] alone")
    if not wanted.storage.bucket:
        raise StartupError(
            f"{target} has to name the bucket, its endpoint and keys too: blobs are read there until all are files"
        )
    return wanted.storage


def _refuse_other_bucket(now: StorageSettings, wanted: StorageSettings, target: Path) -> None:
    """Raises StartupError: a location does not say in which bucket it is."""
    if now.bucket and (now.endpoint, now.bucket, now.prefix) != (wanted.endpoint, wanted.bucket, wanted.prefix):
        raise StartupError(f"{target} names another bucket than {now.bucket}: move the blobs to files first")


def _refuse_without_node(data: Path) -> None:
    if data.is_dir():
        try:
            with sole_use(data):
                pass
        except DataInUse:
            return
    raise StartupError(
        f"no server runs on {data}, and that would do the moving: start one, or name another with --data"
    )


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


async def _followed(database: Database, begun: StorageMove, told: Callable[[StorageMove], None]) -> StorageMove:
    reader = database.reader()
    try:
        while True:
            now = StorageMove.parse(await reader.move())
            if now is None or now.id != begun.id:
                raise StartupError("another move has begun meanwhile: run this again")
            told(now)
            if now.state is MoveState.DONE:
                return now
            if now.state is MoveState.REFUSED:
                raise StartupError(f"nothing was moved: {now.why}")
            if now.state is MoveState.PREPARING and time.time() - now.since > _NODE_ANSWERS_WITHIN:
                await asyncio.to_thread(_refuse, database, now)
                raise StartupError(f"nothing was moved: the server on {now.data} on {now.host} does not answer to it")
            await asyncio.sleep(_LOOK_EVERY)
    finally:
        await reader.close()


async def check_target(move: StorageMove, settings: Settings, target: StorageSettings) -> None:
    """Raises StartupError where a node with `settings` cannot take part."""
    if (target.kind == "s3") != move.into_bucket:
        raise StartupError(f"{move.settings} says another storage.kind than when the move began")
    _refuse_other_bucket(settings.storage, target, Path(move.settings))
    with ThreadPoolExecutor(1) as executor:
        candidate = parts.stores_of(target, executor)
        try:
            await candidate.check_at_start()
        finally:
            await candidate.close()
