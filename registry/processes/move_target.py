"""Where a move of the storage goes: the [storage] of another settings file, and whether a node can take part."""

from __future__ import annotations

import asyncio
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.config import ConfigError, Settings, StorageSettings, load
from registry.domain.move import MoveState, StorageMove
from registry.errors import RegistryError, StartupError
from registry.ports import Placer
from registry.storage.files import DataDirectory
from registry.wiring import stores_of

_WRITTEN_WITHIN = 15.0  # seconds; less than the time after which a node is taken to be silent


def here(data: Path) -> tuple[str, str]:
    """How a node is called in the database: its host and its data directory."""
    return socket.gethostname(), str(data.resolve())


def node_of(data: Path) -> str:
    """What names the node on a data directory, wherever that is mounted: a container has another host name each time.

    Raises StartupError.
    """
    file = data / "node"
    try:
        if not file.exists():
            draft = data / f"node.{uuid.uuid4().hex}"
            draft.write_text(uuid.uuid4().hex)
            draft.rename(file)
        return file.read_text()
    except OSError as error:
        raise StartupError(f"{file} cannot be used: {error.strerror}") from error


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


def refuse_other_bucket(now: StorageSettings, wanted: StorageSettings, target: Path) -> None:
    """Raises StartupError: a location does not say in which bucket it is."""
    if now.bucket and (now.endpoint, now.bucket, now.prefix) != (wanted.endpoint, wanted.bucket, wanted.prefix):
        raise StartupError(f"{target} names another bucket than {now.bucket}: move the blobs to files first")


async def check_target(move: StorageMove, settings: Settings, target: StorageSettings) -> None:
    """Raises StartupError where a node with `settings` cannot take part."""
    if (target.kind == "s3") != move.into_bucket:
        raise StartupError(f"{move.settings} says another storage.kind than when the move began")
    refuse_other_bucket(settings.storage, target, Path(move.settings))
    with ThreadPoolExecutor(1) as executor:
        candidate = stores_of(target, executor)
        try:
            await candidate.check_at_start()
            if move.state is MoveState.PREPARING:  # later, blobs are there already, and have to be read at least
                await _try_to_write(candidate.placer(DataDirectory(settings.data, target.reserve)), move)
        finally:
            await candidate.close()


async def _try_to_write(placer: Placer, move: StorageMove) -> None:
    try:
        async with asyncio.timeout(_WRITTEN_WITHIN):
            await placer.check()
    except RegistryError as error:
        raise StartupError(f"where {move.settings} puts blobs, nothing can be written: {error.with_cause}") from error
    except TimeoutError as error:
        raise StartupError(
            f"where {move.settings} puts blobs, nothing was written within {_WRITTEN_WITHIN:g} s"
        ) from error
