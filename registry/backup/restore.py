"""Bringing a snapshot into an empty registry: the blobs, each verified, and the database last."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from registry.backup import database
from registry.backup.directory import DATABASE, BackupDirectory, Snapshot
from registry.backup.report import Report
from registry.errors import DigestInvalid, SizeInvalid, StartupError
from registry.ports import BlobFile, Placer, StoredBlob, reading
from registry.storage.files import sync_directory
from registry.storage.metadata import sqlite


class Restorer:
    """One snapshot on its way into an empty data directory that is held."""

    def __init__(self, backup: BackupDirectory, snapshot: Snapshot, mark: Mark, report: Report) -> None:
        self._backup = backup
        self._snapshot = snapshot
        self._mark = mark
        self._report = report

    async def blobs(self, placer: Placer, jobs: int) -> None:
        """Place every blob, `jobs` at a time; what an interrupted restore has placed is there. Raises StartupError."""
        file = self._backup.database(self._snapshot)
        self._report.snapshot, self._report.expected = self._snapshot.name, self._snapshot.blobs
        if database.hash_of(file) != self._snapshot.database:
            raise StartupError(f"the database of {self._snapshot.name} was changed: take another with --snapshot")
        slots = asyncio.Semaphore(jobs)
        for page in database.pages(database.blobs_of(file)):
            async with asyncio.TaskGroup() as group:
                for blob in page:
                    group.create_task(self._restored(self._placed(placer, blob), placer, slots))

    async def _restored(self, blob: StoredBlob, placer: Placer, slots: asyncio.Semaphore) -> None:
        async with slots:
            self._report.blobs += 1
            if await placer.has(blob):
                return
            digest = str(blob.digest)
            if not self._backup.has(blob):
                if digest not in self._snapshot.problems:
                    raise _damaged(blob, "is missing or has another size in the backup")
                self._report.problems[digest] = self._snapshot.problems[digest]
                return
            try:
                with closing(BlobFile(os.open(self._backup.blob(blob.digest), os.O_RDONLY), blob.size)) as file:
                    async with reading(file.read(0, file.size)) as chunks:
                        await placer.place(blob, chunks)
            except (DigestInvalid, SizeInvalid):
                raise _damaged(blob, "has other bytes in the backup") from None
            self._report.copied += 1
            self._report.size += blob.size

    def database(self, placer: Placer) -> Path:
        """Write the database with the places that the blobs have now beside the mark; its file. Raises StartupError."""
        file = self._mark.database
        for left in self._mark.folder.glob(f"{DATABASE}*"):
            left.unlink()
        shutil.copyfile(self._backup.database(self._snapshot), file)
        sqlite.prepare(self._mark.folder, may_be_new=False)
        self._report.serial = database.rewrite(file, lambda blob: self._placed(placer, blob).location)
        return file

    def _placed(self, placer: Placer, blob: StoredBlob) -> StoredBlob:
        """Where a blob comes: the same at each try, so that a second one finds what the first one did.

        Another restore names its objects otherwise: two registries in one bucket must not share any, as each removes
        what it does not need.
        """
        name = f"{blob.digest.hex}-{blob.digest.algorithm}-{self._mark.names}"
        return replace(blob, location=placer.new_location(name))


@dataclass(frozen=True, slots=True)
class Mark:
    """The folder that marks a data directory as one that is being restored; it goes with the end.

    `names`: what the objects of this restore have in their names.
    """

    folder: Path
    names: str

    @property
    def database(self) -> Path:
        """The database on its way, once all blobs are there."""
        return self.folder / DATABASE


def begin(folder: Path, snapshot: Snapshot) -> Mark:
    """Make the mark, or find that of an interrupted restore.

    Raises StartupError where the restore of another snapshot has begun.
    """
    said = folder / "snapshot"
    if said.is_file():
        begun, _, names = said.read_text().partition(" ")
        if begun != snapshot.name:
            raise StartupError(
                f"the restore of {begun} has not ended here: go on with --snapshot, or restore into an empty directory"
            )
        return Mark(folder, names)
    mark = Mark(folder, secrets.token_hex(4))
    folder.mkdir(exist_ok=True)
    draft = folder / "draft"
    with draft.open("w") as file:
        file.write(f"{snapshot.name} {mark.names}")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(said)
    sync_directory(folder)
    sync_directory(folder.parent)
    return mark


def put_in_place(file: Path, target: Path) -> None:
    """Make the written database that of the data directory, durably."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    file.rename(target)
    sync_directory(target.parent)


def _damaged(blob: StoredBlob, what: str) -> StartupError:
    return StartupError(f"{blob.digest} {what}: `shoal backup verify` tells all of them; take another with --snapshot")
