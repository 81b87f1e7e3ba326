"""How a node takes over the [storage] of a move, gives it back, and gets what copies the blobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from registry.config import ConfigError, Settings, StorageSettings
from registry.domain.move import StorageMove
from registry.errors import StartupError
from registry.ports import Changes, Leases
from registry.processes.move_follower import MoveFollower
from registry.processes.move_target import check_target, here, node_of, storage_of
from registry.processes.process import Process
from registry.services.move import Mover

log = structlog.get_logger(__name__)


class NodeStorage:
    """The [storage] of a node: while a move goes on it is that of the move, whatever the file of the node says."""

    def __init__(self, process: Process, reload: Callable[[], Settings]) -> None:
        self._process = process
        self._reload = reload
        self._storage: StorageSettings | None = None
        self.use_settings: Callable[[], Awaitable[None]] | None = None
        """Called after each change, once the node serves."""

    def settings(self) -> Settings:
        """Those of the node's file now. Raises ConfigError."""
        own = self._reload()
        return own.model_copy(update={"storage": self._storage}) if self._storage else own

    async def take_over(self, move: StorageMove) -> None:
        """Use the [storage] that the move names. Raises StartupError, and changes nothing."""
        storage = storage_of(Path(move.settings), self._process.settings)
        await check_target(move, self._process.settings, storage)
        await self._use(storage)
        self._storage = storage

    async def give_back(self) -> None:
        """Use the node's own file again, after the move was refused."""
        self._storage = None
        try:
            await self._use(self._reload().storage)
        except (ConfigError, StartupError) as error:
            log.error("the settings were not read again: they have an error", error=str(error))

    async def fall_back(self, move: StorageMove) -> None:
        """Read both stores on after a move has failed, new blobs going where they went before. Raises StartupError."""
        try:
            own = self._reload().storage
        except ConfigError as error:
            raise StartupError(str(error)) from error
        if self._storage is None and own.bucket:
            return  # this node was started after that, with a file of its own that names both
        storage = self._storage or storage_of(Path(move.settings), self._process.settings)
        self._storage = storage.model_copy(update={"kind": own.kind})
        await self._use(self._storage)

    async def _use(self, storage: StorageSettings) -> None:
        self._process.configure(self._process.settings.model_copy(update={"storage": storage}))
        if self.use_settings is not None:
            await self.use_settings()


def move_follower(process: Process, changes: Changes, leases: Leases, move: NodeStorage) -> MoveFollower:
    def mover(on_progress: Callable[[StorageMove], object]) -> Mover:
        blobs = process.stores.blobs(process.directory, process.metrics.blob_damaged)
        placer = process.stores.placer(process.directory)
        keep_every = process.settings.collect.keep_plans_every
        return Mover(process.sql, changes, blobs, placer, leases, keep_every, on_progress)

    host, data = here(process.settings.data)
    node = node_of(process.settings.data)
    return MoveFollower(process.sql, changes, node, f"{data} on {host}", move, mover)
