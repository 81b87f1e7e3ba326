"""The files of the cache, in DATA/cache, which all processes of the node share.

ALGORITHM-HEX                a complete blob, renamed to here once its hash was right; its access time is its last use
ALGORITHM-HEX.SIZE.filling   a blob that is being filled, see filling.py; it counts with its whole size
lock                         held (flock) while room is made

The directory itself is the bookkeeping: whoever wants room holds the lock, looks at all files and removes those
that were unused for longest, so the bound holds over all processes. A file that is being filled is locked by
who fills it; one that nobody has locked is left over from a process that died. Who wants that blob goes on with it, and
whoever makes room removes it after some seconds. Nothing is synced to the disk: what a power loss damages is found when
the file is used.

The bound counts names. A file that is removed while a client still reads it takes its disk until that ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from registry.domain.digest import Digest
from registry.errors import StorageFull
from registry.ports import BlobFile
from registry.storage.cache import filling
from registry.storage.cache.counts import CacheCounts
from registry.storage.cache.filling import FillingFile, Identity, identity_of
from registry.storage.cache.room import CachedFile, CacheRoom
from registry.storage.files import DataDirectory

log = structlog.get_logger(__name__)

_LOCK = "lock"
_LEFT_FOR = 10.0  # seconds
_SLICE = 1024 * 1024


class CacheDirectory:
    """`room` is the bound; the reserve of the data directory is kept too. Its methods are used in threads."""

    def __init__(self, directory: DataDirectory, room: CacheRoom, counts: CacheCounts) -> None:
        self.room = room
        self._counts = counts
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
        return identity_of(file.fd)

    def verified(self, digest: Digest, size: int) -> Identity | None:
        """The identity of a file whose content is right; any other is removed. Reads the whole file."""
        file = self.open(digest, size)
        if file is None:
            return None
        try:
            identity = identity_of(file.fd)
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
        """The file that another process fills or has just completed, else one that is ours to fill, after room was made
        for it; None where there is no room. Raises OSError.
        """
        target = self.path(digest)
        with self._locked():
            if (complete := self.open(digest, size)) is not None:
                return FillingFile(target, target, complete.fd, size, ours=False)
            if (found := filling.found(target, size)) is not None:
                return found
            return filling.created(target, size) if self._make_room(size) else None

    def take_over(self, file: FillingFile) -> bool:
        """Make a file ours that was locked just now, as who filled it has gone; False where it has no name any more.

        Raises OSError.
        """
        with self._locked():
            file.ours = file.is_named() and file.length() <= file.size
        return file.ours

    def clear(self, file: FillingFile) -> None:
        """Remove a file that we have given up, unless another process goes on with it."""
        with suppress(OSError), self._locked():
            if filling.is_left_over(str(file.path)):
                file.discard()

    def publish(self, file: FillingFile) -> Identity:
        """Make it a complete file, in the place of one that another process filled meanwhile. Raises OSError.

        Under the lock, so that whoever makes room sees each file under one of its two names.
        """
        with self._locked():
            file.path.rename(file.target)
            self._counts.cache_holds(sum(kept.size for kept in self._look()[0]))
        return file.identity()

    def tidy(self) -> None:
        """Remove leftovers, and what is more than the bound allows; with a bound of 0, all. Raises OSError."""
        if self.room.bound or self._root.exists():
            with self._locked():
                self._make_room(0)

    def _make_room(self, size: int) -> bool:
        kept, growing = self._look()
        evicted = self.room.evictions(size, kept, growing)
        if evicted is None:
            return False
        for file in evicted:
            (self._root / file.name).unlink(missing_ok=True)
        self._counts.cache_holds(sum(file.size for file in kept) - sum(file.size for file in evicted))
        try:
            self._directory.check_room(size)
        except StorageFull:
            return False
        return True

    def _look(self) -> tuple[list[CachedFile], int]:
        """The complete files, and the bytes of those that are being filled."""
        kept, growing = [], 0
        with os.scandir(self._root) as entries:
            for entry in entries:
                if entry.name == _LOCK:
                    continue
                try:
                    found = entry.stat()
                except FileNotFoundError:  # renamed or removed just now
                    continue
                if not entry.name.endswith(filling.SUFFIX):
                    kept.append(CachedFile(entry.name, found.st_size, found.st_atime_ns))
                elif filling.is_left_over(entry.path) and self._is_forsaken(found.st_mtime):
                    Path(entry.path).unlink(missing_ok=True)
                else:
                    growing += filling.whole_size(entry.name)
        return kept, growing

    def _is_forsaken(self, written: float) -> bool:
        """Those who followed a process that died go on with its file within a moment, if they are let."""
        return not self.room.bound or abs(time.time() - written) > _LEFT_FOR

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._root.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _hash(descriptor: int, algorithm: str) -> str:
    running, position = hashlib.new(algorithm), 0
    while chunk := os.pread(descriptor, _SLICE, position):
        running.update(chunk)
        position += len(chunk)
    return running.hexdigest()
