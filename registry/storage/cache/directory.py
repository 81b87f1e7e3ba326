"""The files of the cache, in DATA/cache, which all processes of the node share.

ALGORITHM-HEX                a complete blob, renamed to here once its hash was right; its access time is its last use
ALGORITHM-HEX.ID.filling     a blob that is being filled, from the start as long as it will be
lock                         held (flock) while room is made

The directory itself is the bookkeeping: whoever wants room holds the lock, looks at all files and removes those
that were unused for longest, so the bound holds over all processes. A file that is being filled is locked by
who fills it; one that nobody has locked is left over from a process that died, and is removed. Nothing is
synced to the disk: what a power loss damages is found when the file is used.

The bound counts names. A file that is removed while a client still reads it takes its disk until that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from registry.domain.digest import Digest
from registry.errors import StorageFull
from registry.ports import BlobFile
from registry.storage.cache.room import CachedFile, CacheRoom
from registry.storage.files import DataDirectory, try_lock, write_all

log = structlog.get_logger(__name__)

_FILLING = ".filling"
_LOCK = "lock"
_SLICE = 1024 * 1024

Identity = tuple[int, int, int]
"""Inode, size and time of the last write: the same as long as the content is."""


@dataclass(frozen=True, slots=True)
class FillingFile:
    """A file that grows to a blob; whoever reserved it discards and closes it. Its methods raise OSError."""

    path: Path
    target: Path
    fd: int

    def append(self, chunk: bytes) -> None:
        write_all(self.fd, [chunk])

    def discard(self) -> None:
        """Take its name away; no error where it has become a complete file."""
        with suppress(OSError):
            self.path.unlink()


class CacheDirectory:
    """`room` is the bound; the reserve of the data directory is kept too. Its methods are used in threads."""

    def __init__(self, directory: DataDirectory, room: CacheRoom) -> None:
        self.room = room
        self._directory = directory
        self._root = directory.root / "cache"

    def path(self, digest: Digest) -> Path:
        return self._root / f"{digest.algorithm}-{digest.hex}"

    def open(self, digest: Digest, size: int) -> BlobFile | None:
        """A complete file, which counts as used by this; one of another size is removed. Short enough for a loop."""
        path = self.path(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        found = os.fstat(descriptor)
        if found.st_size != size:
            os.close(descriptor)
            self.drop(digest)
            return None
        with suppress(OSError):  # the order of use is no reason to fail
            os.utime(descriptor, ns=(time.time_ns(), found.st_mtime_ns))
        return BlobFile(descriptor, size)

    def identity(self, file: BlobFile) -> Identity:
        return _identity(file.fd)

    def verified(self, digest: Digest, size: int) -> Identity | None:
        """The identity of a file whose content is right; any other is removed. Reads the whole file."""
        file = self.open(digest, size)
        if file is None:
            return None
        try:
            identity = _identity(file.fd)
            right = _hash(file.fd, digest.algorithm) == digest.hex
        except OSError:
            right = False
        finally:
            file.close()
        if right:
            return identity
        log.warning("a damaged file of the cache is removed", digest=str(digest))
        self.drop(digest)
        return None

    def drop(self, digest: Digest) -> None:
        with suppress(OSError):
            self.path(digest).unlink()

    def reserve(self, digest: Digest, size: int) -> FillingFile | None:
        """A file to fill, after room was made for it; None where there is no room. Raises OSError."""
        with self._locked():
            if not self._make_room(size):
                return None
            return _created(self.path(digest), size)

    def publish(self, file: FillingFile) -> Identity:
        """Make it a complete file, in the place of one that another process filled meanwhile. Raises OSError.

        Under the lock, so that whoever makes room sees each file under one of its two names.
        """
        with self._locked():
            file.path.rename(file.target)
        return _identity(file.fd)

    def tidy(self) -> None:
        """Remove leftovers, and what is more than the bound allows; with a bound of 0, all. Raises OSError."""
        if self.room.bound or self._root.exists():
            with self._locked():
                self._make_room(0)

    def _make_room(self, size: int) -> bool:
        kept, filling = self._look()
        evicted = self.room.evictions(size, kept, filling)
        if evicted is None:
            return False
        for file in evicted:
            (self._root / file.name).unlink(missing_ok=True)
        try:
            self._directory.check_room(size)
        except StorageFull:
            return False
        return True

    def _look(self) -> tuple[list[CachedFile], int]:
        """The complete files, and the bytes of those that are being filled."""
        kept, filling = [], 0
        with os.scandir(self._root) as entries:
            for entry in entries:
                if entry.name == _LOCK:
                    continue
                try:
                    found = entry.stat()
                except FileNotFoundError:  # renamed or removed just now
                    continue
                if not entry.name.endswith(_FILLING):
                    kept.append(CachedFile(entry.name, found.st_size, found.st_atime_ns))
                elif _is_left_over(entry.path):
                    Path(entry.path).unlink(missing_ok=True)
                else:
                    filling += found.st_size
        return kept, filling

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._root.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _created(target: Path, size: int) -> FillingFile:
    path = target.with_name(f"{target.name}.{secrets.token_hex(4)}{_FILLING}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try_lock(descriptor)  # nobody else knows its name yet
        os.ftruncate(descriptor, size)
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return FillingFile(path, target, descriptor)


def _identity(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_left_over(path: str) -> bool:
    """Whether the process that filled a file has gone: files appear with their lock, while the directory is locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def _hash(descriptor: int, algorithm: str) -> str:
    running, position = hashlib.new(algorithm), 0
    while chunk := os.pread(descriptor, _SLICE, position):
        running.update(chunk)
        position += len(chunk)
    return running.hexdigest()
