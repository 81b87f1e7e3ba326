"""Bytes on their way to an object store, in files without a name: they take page cache, not a process's memory."""

from __future__ import annotations

import hashlib
import os
import tempfile

from registry.storage import files
from registry.storage.files import DataDirectory


class SpooledPart:
    """Some bytes, their number and their MD5; whoever made it closes it. Used in threads, one at a time."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._file = tempfile.TemporaryFile(dir=directory.uploads, buffering=0)  # noqa: SIM115 - closed by close
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    @property
    def fd(self) -> int:
        return self._file.fileno()

    @property
    def md5(self) -> bytes:
        return self._md5.digest()

    def append(self, chunks: list[bytes | memoryview]) -> None:
        """Raises StorageFull."""
        self._directory.check_room(sum(map(len, chunks)))
        for chunk in chunks:
            self._md5.update(chunk)
        self.size += files.write_all(self.fd, chunks)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self.fd, size, start)

    def close(self) -> None:
        self._file.close()
