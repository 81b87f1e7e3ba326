"""A file that gets its name once all its bytes are there, are right, and are on the disk."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from registry.domain.digest import Digest
from registry.domain.upload import check_digest
from registry.errors import SizeInvalid
from registry.storage import hashing
from registry.storage.files import sync_directory, write_all

SUFFIX = ".part"


class StagedFile:
    """Bytes on their way to the file `target`. Used in threads, one at a time; all methods may raise OSError."""

    def __init__(self, folder: Path, algorithm: str) -> None:
        self._path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        self._hash = hashing.start(algorithm)
        self._size = 0
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._size += write_all(self._fd, [chunk])

    def publish(self, digest: Digest, size: int, target: Path) -> None:
        """Raises DigestInvalid, SizeInvalid where the bytes are others."""
        if self._size != size:
            raise SizeInvalid(f"there are {self._size} bytes where {size} should be", {"digest": str(digest)})
        check_digest(digest, self._hash.digest())
        os.fsync(self._fd)
        self._path.rename(target)
        sync_directory(target.parent)

    def close(self) -> None:
        """What was not published goes."""
        os.close(self._fd)
        with suppress(FileNotFoundError):
            self._path.unlink()


def remove_remains(folder: Path) -> None:
    """Remove what an interrupted command staged; nobody else may be staging there."""
    for path in folder.glob(f"*{SUFFIX}"):
        path.unlink(missing_ok=True)
