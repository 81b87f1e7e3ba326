"""The directory of a backup, which any number of snapshots share.

lock                          held by the one command that writes
blobs/ALGORITHM/XX/           blobs by digest, XX its first two digits
snapshots/TIME-SERIAL/        shoal.db, the database as SQLite, and snapshot.json, what to expect of it
incoming/                     what is being written
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from registry.domain.digest import Digest
from registry.errors import DataInUse, StartupError
from registry.ports import StoredBlob
from registry.storage.data_lock import sole_use
from registry.storage.files import sync_directory
from registry.storage.staged_file import StagedFile

FORMAT = 1
DATABASE = "shoal.db"
_DOCUMENT = "snapshot.json"
# What a directory may hold that is to become a backup: our own lock, and what a new file system comes with.
_EMPTY_ENOUGH = {"lock", "lost+found"}


class Snapshot(msgspec.Struct, frozen=True):
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


class _Format(msgspec.Struct):
    """What every snapshot.json says, whatever its format is."""

    format: int


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
        self._refuse_others()
        try:
            with sole_use(self.root):
                for folder in (self.root / "snapshots", self.root / "blobs", self.incoming):
                    folder.mkdir(exist_ok=True)
                self._clear()
                sync_directory(self.root)
                yield
                self._clear()
        except DataInUse as error:
            raise StartupError(f"another command writes to {self.root}: wait for its end") from error

    def _refuse_others(self) -> None:
        """Somebody's files are not mixed with a backup, whose remains are removed without asking."""
        if self.root.is_dir() and not self._is_backup:
            strange = sorted({path.name for path in self.root.iterdir()} - _EMPTY_ENOUGH)
            if strange:
                raise StartupError(
                    f"{self.root} is no backup and holds {strange[0]}: name an empty directory with --to"
                )

    @property
    def _is_backup(self) -> bool:
        return (self.root / "snapshots").is_dir()

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
        document = msgspec.json.encode({"format": FORMAT, **msgspec.structs.asdict(snapshot)})
        (draft / _DOCUMENT).write_bytes(msgspec.json.format(document, indent=2))
        for path in (draft / DATABASE, draft / _DOCUMENT, draft):
            sync_directory(path) if path.is_dir() else _sync_file(path)
        draft.rename(self.root / "snapshots" / snapshot.name)
        sync_directory(self.root / "snapshots")

    def snapshots(self) -> tuple[list[Snapshot], dict[str, str]]:
        """All of them, the oldest first; and by name, what is wrong with those that cannot be read."""
        found, damaged = [], {}
        for name in self._names():
            try:
                found.append(self._read(name))
            except StartupError as error:
                damaged[name] = str(error)
        return found, damaged

    def snapshot(self, name: str) -> Snapshot:
        """`name`: "" for the newest. Others may be damaged."""
        names = self._names()
        if not names:
            raise StartupError(f"{self.root} has no complete snapshot: run `shoal backup create` again")
        if name and name not in names:
            raise StartupError(f"{self.root} has no snapshot {name}: `shoal backup list` shows them")
        return self._read(name or names[-1])

    def _names(self) -> list[str]:
        if not self._is_backup:
            raise StartupError(f"{self.root} is no backup: name the directory that `shoal backup create --to` wrote")
        try:
            return sorted(entry.name for entry in os.scandir(self.root / "snapshots") if entry.is_dir())
        except OSError as error:
            raise StartupError(f"{self.root} cannot be read: {error.strerror}") from error

    def database(self, snapshot: Snapshot) -> Path:
        return self.root / "snapshots" / snapshot.name / DATABASE

    def _read(self, name: str) -> Snapshot:
        folder = self.root / "snapshots" / name
        try:
            document = (folder / _DOCUMENT).read_bytes()
            number = msgspec.json.decode(document, type=_Format).format
            if number != FORMAT:
                raise StartupError(f"{folder} has format {number}, this version reads {FORMAT}: take a newer version")
            snapshot = msgspec.json.decode(document, type=Snapshot)
        except (OSError, ValueError) as error:  # those of msgspec are ValueErrors
            raise StartupError(
                f"the snapshot {folder} is damaged: remove it, or take another with --snapshot"
            ) from error
        if snapshot.name != name:
            raise StartupError(f"the snapshot {folder} says that it is {snapshot.name}: give it its name again")
        return snapshot


def name_of(time: float, serial: int) -> str:
    """Names sort by time."""
    return f"{datetime.fromtimestamp(time, UTC):%Y%m%dT%H%M%SZ}-{serial:012}"


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
