"""Making a snapshot beside running nodes.

Blobs are copied first, then the database as it is at one moment, then the blobs that came meanwhile. A blob that the
snapshot names and that was collected before it could be copied spoils the snapshot: then another one is taken, for
which little is left to copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from registry import __version__
from registry.backup import database
from registry.backup.directory import DATABASE, BackupDirectory, Snapshot, name_of
from registry.backup.report import Report
from registry.errors import BlobDamaged, BlobUnknown, DigestInvalid, RegistryError, SizeInvalid, StartupError
from registry.ports import BlobStore, Inventory, StoredBlob, reading

T = TypeVar("T")
_TRIES = 10
# Of the blob itself. What a store or a disk refuses says nothing of it, and ends the command.
_DAMAGED = (BlobUnknown, BlobDamaged, DigestInvalid, SizeInvalid)

CopyDatabase = Callable[[Path], int]
"""Writes the database as it is now to a file that is not there yet; returns the serial of its last event."""


class Creator:
    """One snapshot into a directory that is held. `jobs`: blobs at a time."""

    def __init__(
        self,
        backup: BackupDirectory,
        blobs: BlobStore,
        inventory: Inventory,
        copy_database: CopyDatabase,
        executor: Executor,
        jobs: int,
        report: Report,
    ) -> None:
        self._backup = backup
        self._blobs = blobs
        self._inventory = inventory
        self._copy_database = copy_database
        self._executor = executor
        self._slots = asyncio.Semaphore(jobs)
        self._report = report

    async def run(self) -> None:
        """Raises StartupError where the registry or the backup cannot be used, RegistryError where the store gives no
        blobs, and OSError of the backup's disk.
        """
        self._report.expected = await self._inventory.count()
        async for page in self._inventory.blobs():
            await self._copy_all(page)
        for _ in range(_TRIES):
            if await self._snapshot():
                return
        raise StartupError("blobs are collected faster than they can be copied: run it again at a quieter time")

    async def _snapshot(self) -> bool:
        """Whether every blob that the snapshot names could be copied, but for those that the registry has lost."""
        file = self._backup.incoming / DATABASE
        file.unlink(missing_ok=True)
        taken = time.time()
        serial = await self._in_thread(partial(self._copy_database, file))
        await self._in_thread(partial(database.settle, file))
        self._report.blobs, self._report.problems = 0, {}
        self._report.expected, size = await self._in_thread(partial(database.totals, file))
        for page in database.pages(database.blobs_of(file)):
            if not all(await self._copy_all(page)):
                return False
        snapshot = Snapshot(
            name_of(taken, serial),
            taken,
            serial,
            self._report.expected,
            size,
            await self._in_thread(partial(database.hash_of, file)),
            __version__,
            self._report.problems,
        )
        await self._in_thread(partial(self._backup.publish, snapshot, file))
        self._report.snapshot, self._report.serial = snapshot.name, serial
        return True

    async def _copy_all(self, blobs: Sequence[StoredBlob]) -> list[bool]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._copied(blob)) for blob in blobs]
        return [task.result() for task in tasks]

    async def _copied(self, blob: StoredBlob) -> bool:
        """False where the blob has gone from the registry; one whose bytes are wrong is a problem, and told."""
        async with self._slots:
            self._report.blobs += 1
            if await self._in_thread(partial(self._backup.has, blob)):
                return True
            while True:
                try:
                    await self._copy(blob)
                    return True
                except _DAMAGED as error:
                    now = await self._inventory.stored(str(blob.digest))
                    if now is None:
                        return False
                    if now == blob:
                        self._report.problems[str(blob.digest)] = _reason(error)
                        return True
                    blob = now  # it was pushed anew, or moved, and is somewhere else

    async def _copy(self, blob: StoredBlob) -> None:
        with (
            closing(await self._blobs.open(blob)) as opened,
            await self._in_thread(partial(self._backup.stage, blob.digest)) as staged,
        ):
            async with reading(opened.read(0, blob.size)) as chunks:
                async for chunk in chunks:
                    await self._in_thread(partial(staged.write, chunk))
            target = self._backup.blob(blob.digest)
            await self._in_thread(partial(staged.publish, blob.digest, blob.size, target))
        self._report.copied += 1
        self._report.size += blob.size

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _reason(error: RegistryError) -> str:
    return f"{error.message}; `shoal fsck --deep` says more"
