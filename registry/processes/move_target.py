"""Where a move of the storage goes: the [storage] of another settings file, and whether a node can take part."""

from __future__ import annotations

import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.config import ConfigError, Settings, StorageSettings, load
from registry.domain.move import StorageMove
from registry.errors import StartupError
from registry.wiring import stores_of


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
        finally:
            await candidate.close()
