"""The directory of a backup, which any number of snapshots share.

lock                          held by the one command that writes
blobs/ALGORITHM/XX/           blobs by digest, XX its first two digits
snapshots/TIME-SERIAL/        shoal.db, the database as SQLite, and snapshot.json, what to expect of it
incoming/                     what is being written
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.domain.digest import Digest
from registry.errors import DataInUse, StartupError
from registry.ports import StoredBlob
from registry.storage.data_lock import sole_use
from registry.storage.files import sync_directory
from registry.storage.staged_file import StagedFile

FORMAT = 1
DATABASE = "shoal.db"
_DOCUMENT = "snapshot.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a snapshot without reading it. `time`: seconds since the epoch; `serial`: of the journal.

    `problems`: blobs whose bytes the registry itself had lost, and why.
    """

    name: str
    time: float
    serial: int
    blobs: int
    size: int
    database: str
    version: str
    problems: dict[str, str]


class BackupDirectory:
    """Where snapshots and blobs are. Methods raise StartupError for what an operator can mend, OSError else."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    @contextmanager
    def held(self) -> Iterator[None]:
        """For the one who writes; what an interrupted command left goes."""
        try:
            with sole_use(self.root):
                for folder in (self.incoming, self.root / "snapshots", self.root / "blobs"):
                    folder.mkdir(exist_ok=True)
                self._clear()
                sync_directory(self.root)
                yield
                self._clear()
        except DataInUse as error:
            raise StartupError(f"another command writes to {self.root}: wait for its end") from error

    def _clear(self) -> None:
        for left in self.incoming.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    def has(self, blob: StoredBlob) -> bool:
        try:
            return self.blob(blob.digest).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def stage(self, digest: Digest) -> StagedFile:
        """A file that will become the blob."""
        folder = self.blob(digest).parent
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            for above in (folder.parent, folder.parent.parent):
                sync_directory(above)
        return StagedFile(self.incoming, digest.algorithm)

    def publish(self, snapshot: Snapshot, database: Path) -> None:
        """Make a snapshot of a database file, whole or not at all."""
        draft = self.incoming / snapshot.name
        draft.mkdir()
        database.rename(draft / DATABASE)
        document = {"format": FORMAT, **asdict(snapshot)}
        with (draft / _DOCUMENT).open("w") as file:
            json.dump(document, file, indent=2)
        for path in (draft / DATABASE, draft / _DOCUMENT, draft):
            sync_directory(path) if path.is_dir() else _sync_file(path)
        draft.rename(self.root / "snapshots" / snapshot.name)
        sync_directory(self.root / "snapshots")

    def snapshots(self) -> list[Snapshot]:
        """All of them, the oldest first."""
        if not (self.root / "snapshots").is_dir():
            raise StartupError(f"{self.root} is no backup: name the directory that `shoal backup create --to` wrote")
        return [self._read(folder) for folder in sorted((self.root / "snapshots").iterdir())]

    def snapshot(self, name: str) -> Snapshot:
        """`name`: "" for the newest."""
        found = self.snapshots()
        if not found:
            raise StartupError(f"{self.root} has no complete snapshot: run `shoal backup create` again")
        for snapshot in found if name else found[-1:]:
            if name in ("", snapshot.name):
                return snapshot
        raise StartupError(f"{self.root} has no snapshot {name}: `shoal backup list` shows them")

    def database(self, snapshot: Snapshot) -> Path:
        return self.root / "snapshots" / snapshot.name / DATABASE

    def _read(self, folder: Path) -> Snapshot:
        try:
            document: dict[str, Any] = json.loads((folder / _DOCUMENT).read_text())
            number = document.pop("format")
            if number != FORMAT:
                raise StartupError(f"{folder} has format {number}, this version reads {FORMAT}: take a newer version")
            return Snapshot(**document)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise StartupError(
                f"the snapshot {folder} is damaged: remove it, or take another with --snapshot"
            ) from error


def name_of(time: float, serial: int) -> str:
    """Names sort by time."""
    return f"{datetime.fromtimestamp(time, UTC):%Y%m%dT%H%M%SZ}-{serial:012}"


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
