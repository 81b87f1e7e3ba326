"""A blob on its way into the cache, as a file that all processes of the node see: ALGORITHM-HEX.SIZE.filling.

Whoever fills it has it locked (flock), so the kernel tells the others when that process has gone. The file is as long
as what may be shown of it: the last bytes are written once the hash of all is right. Where the store fails, its error
is written behind the place of the last byte (SIZE is that of the whole blob), for those in other processes who wait.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.errors import (
    BlobDamaged,
    BlobUnknown,
    RegistryError,
    StorageFailure,
    StorageFull,
    StoreRefused,
    Unavailable,
)
from registry.storage.files import try_lock, write_all

SUFFIX = ".filling"
_LONGEST_ERROR = 64 * 1024
_SLICE = 1024 * 1024
_KINDS: dict[str, type[RegistryError]] = {
    kind.__name__: kind for kind in (BlobDamaged, BlobUnknown, StorageFailure, StorageFull, StoreRefused, Unavailable)
}

Identity = tuple[int, int, int]
"""Inode, size and time of the last write: the same as long as the content is."""


class Hash(Protocol):
    def update(self, chunk: bytes, /) -> None: ...


@dataclass(slots=True)
class FillingFile:
    """`ours`: this process fills it; else another one does, or has. Whoever got it closes `fd`.

    Its methods raise OSError.
    """

    path: Path
    target: Path
    fd: int
    size: int
    ours: bool

    @property
    def is_complete(self) -> bool:
        """Whether it was a complete file of the cache from the first."""
        return self.path == self.target

    def length(self) -> int:
        """How much of it may be shown; more than the size where the store has failed."""
        return os.fstat(self.fd).st_size

    def append(self, chunk: bytes) -> None:
        write_all(self.fd, [chunk])

    def hash_into(self, running: Hash) -> int:
        """Hash what is there; how many bytes that is. The next ones are appended to them."""
        position = 0
        while chunk := os.pread(self.fd, _SLICE, position):
            running.update(chunk)
            position += len(chunk)
        return os.lseek(self.fd, position, os.SEEK_SET)

    def fail(self, error: RegistryError) -> None:
        """Tell who follows what the store said."""
        said = [type(error).__name__, error.message, error.detail]
        with suppress(OSError):  # then they ask the store themselves
            os.pwrite(self.fd, json.dumps(said, default=str).encode(), self.size)

    def failure(self) -> RegistryError | None:
        """What the one who fills it has told of the store; None while that is not all there."""
        try:
            kind, message, detail = json.loads(os.pread(self.fd, _LONGEST_ERROR, self.size))
        except ValueError:
            return None
        return _KINDS.get(kind, StorageFailure)(message, detail)

    def is_named(self) -> bool:
        """Whether it has its name still. Under the lock of the directory."""
        try:
            return self.path.stat().st_ino == os.fstat(self.fd).st_ino
        except FileNotFoundError:
            return False

    def lock(self) -> bool:
        """Lock it, if the one who did has gone."""
        return try_lock(self.fd)

    def release(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def discard(self) -> None:
        """Take its name away, while it is ours."""
        with suppress(OSError):
            self.path.unlink()

    def identity(self) -> Identity:
        return identity_of(self.fd)


def found(target: Path, size: int) -> FillingFile | None:
    """The file in which a blob is being filled, if any: ours now, where the process that filled it has gone."""
    path = _path(target, size)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    file = FillingFile(path, target, descriptor, size, try_lock(descriptor))
    if not file.ours or file.length() <= size:
        return file
    file.discard()  # the store had failed
    os.close(descriptor)
    return None


def created(target: Path, size: int) -> FillingFile:
    path = _path(target, size)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try_lock(descriptor)  # nobody else has seen its name yet
    return FillingFile(path, target, descriptor, size, ours=True)


def whole_size(name: str) -> int:
    """How large the blob will be that is filled in a file of this name; 0 where nobody can tell."""
    said = name.removesuffix(SUFFIX).rpartition(".")[2]
    return int(said) if said.isdecimal() else 0


def is_left_over(path: str) -> bool:
    """Whether the process that filled a file has gone: files appear with their lock, while the directory is locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def identity_of(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _path(target: Path, size: int) -> Path:
    return target.with_name(f"{target.name}.{size}{SUFFIX}")
