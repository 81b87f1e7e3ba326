"""The data directory: its places, how a file in it becomes durable, and its limits.

lock                  held by the one `shoal serve` that uses the directory
shoal.db              the database (SQLite)
blobs/ALGORITHM/XX/   complete blobs by digest, XX its first two digits
uploads/              sessions: ID.data (the bytes so far) and ID.state
restoring/            while a backup is restored into this directory
audit/                the audit log
cache/                copies of blobs that lie in an object store
node                  what names this node in a move of the storage
boot                  in which boot of the machine the blobs were last looked through
metrics               leads to the counters of the running processes, in memory
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from registry.domain.digest import ALGORITHMS, Digest
from registry.errors import RegistryError, StartupError, StorageFailure, StorageFull

T = TypeVar("T")

_MOST_BUFFERS = 1024  # IOV_MAX of writev(2)
_WRITE_OUT = 2  # SYNC_FILE_RANGE_WRITE (linux/fs.h)


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A data directory, and the disk reserve in bytes that uploads must leave free."""

    root: Path
    reserve: int

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    def blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def restoring(self) -> Path:
        return self.root / "restoring"

    @property
    def is_being_restored(self) -> bool:
        """Whether a restore has begun that has not come to its end."""
        return self.restoring.is_dir()

    def prepare(self, *, being_restored: bool = False) -> None:
        """Make every folder, so that publishing a blob never has to; raises StartupError."""
        if self.is_being_restored and not being_restored:
            raise StartupError(
                f"{self.root} is being restored from a backup: run `shoal backup restore` again until it has ended"
            )
        try:
            self.uploads.mkdir(parents=True, exist_ok=True)
            for algorithm in ALGORITHMS:
                shelf = self.root / "blobs" / algorithm
                if (shelf / "ff").is_dir():
                    continue
                shelf.mkdir(parents=True, exist_ok=True)
                for number in range(256):
                    (shelf / f"{number:02x}").mkdir(exist_ok=True)
                sync_directory(shelf)
                sync_directory(shelf.parent)
            sync_directory(self.root)
        except OSError as error:
            raise StartupError(f"the data directory {self.root} cannot be used: {error.strerror}") from error

    def shelves(self) -> Iterator[tuple[str, Path]]:
        """Every folder that holds blobs, with their algorithm."""
        for algorithm in ALGORITHMS:
            for number in range(256):
                yield algorithm, self.root / "blobs" / algorithm / f"{number:02x}"

    def is_empty(self) -> bool:
        """Whether there is no blob yet."""
        return not any(entry for _, shelf in self.shelves() for entry in os.scandir(shelf))

    def last_boot(self) -> str:
        """The boot of the machine in which what a power loss may leave was last cleared up; "" if never."""
        try:
            return (self.root / "boot").read_text()
        except FileNotFoundError:
            return ""

    def remember_boot(self, boot: str) -> None:
        (self.root / "boot").write_text(boot)

    def check_room(self, size: int = 0) -> None:
        """Raises StorageFull where `size` more bytes would touch the reserve."""
        disk = os.statvfs(self.root)
        if disk.f_bavail * disk.f_frsize - size < self.reserve:
            raise StorageFull("the registry's disk is full: free some space or remove images, then push again")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of the file system, told as ours (at this one edge)."""
    try:
        yield
    except OSError as error:
        raise translate(error, what) from error


def translate(error: OSError, what: str) -> RegistryError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(f"the registry's disk is full: {what} failed")
    return StorageFailure(f"the registry's disk failed: {what}", {"error": os.strerror(error.errno or 0)})


async def in_thread(executor: Executor, what: str, work: Callable[[], T]) -> T:
    """Do some file work in a thread, its errors told as ours.

    Where the caller is cancelled this still waits for the work, which is short: the caller will close the
    descriptors that it works on, and another file may get their numbers.
    """

    def translating() -> T:
        with translated(what):
            return work()

    working = asyncio.get_running_loop().run_in_executor(executor, translating)
    try:
        return await asyncio.shield(working)
    finally:
        while not working.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([working])


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process alone, until it is closed; False where another one has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(source: Path, target: Path, executor: Executor) -> None:
    """Move a file to where another one may be, durably, and in the same time for every size.

    The kernel frees the blocks of the old file when its last descriptor is closed, which for a large one
    takes long; so that happens afterwards, in another thread.
    """
    try:
        old = os.open(target, os.O_RDONLY)
    except OSError:  # there is none, or it cannot be read: then it may as well be freed at once
        source.rename(target)
    else:
        source.rename(target)
        executor.submit(os.close, old)
    sync_directory(target.parent)


def write_all(descriptor: int, chunks: Sequence[bytes | memoryview]) -> int:
    """Write every byte; returns how many."""
    if len(chunks) > _MOST_BUFFERS:
        chunks = [b"".join(chunks)]
    total = sum(map(len, chunks))
    written = os.writev(descriptor, chunks)
    if written < total:
        rest = memoryview(b"".join(chunks))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return total


def start_write_out(descriptor: int, offset: int, size: int) -> None:
    """Ask the kernel to begin writing a range to the disk, so that the fsync at the end finds little to do.

    Only a hint: where the file system does not know it, nothing is lost.
    """
    _libc.sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), _WRITE_OUT)


_libc = ctypes.CDLL(None, use_errno=True)
