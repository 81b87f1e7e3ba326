"""Bytes on their way to an object store, in files without a name: they take page cache, not a process's memory."""

from __future__ import annotations

import os
import tempfile

from zlib_ng import zlib_ng

from registry.storage import files
from registry.storage.files import DataDirectory
from registry.storage.s3.transport import FileBody


class SpooledPart:
    """Some bytes, their number and their CRC-32; whoever made it closes it. Used in threads, one at a time.

    The CRC-32 is zlib-ng's: that of the standard library takes half as long as SHA-256 does.
    """

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._file = tempfile.TemporaryFile(dir=directory.uploads, buffering=0)  # noqa: SIM115 - closed by close
        self._crc32 = 0
        self.size = 0

    @property
    def body(self) -> FileBody:
        return FileBody(self._file.fileno(), self.size, self._crc32)

    def append(self, chunks: list[bytes | memoryview]) -> None:
        """Raises StorageFull."""
        self._directory.check_room(sum(map(len, chunks)))
        for chunk in chunks:
            self._crc32 = zlib_ng.crc32(chunk, self._crc32)
        self.size += files.write_all(self._file.fileno(), chunks)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)

    def close(self) -> None:
        self._file.close()
