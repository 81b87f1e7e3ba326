"""One upload in a file: append, hash, remember, publish."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from registry.domain.changes import LinkBlob
from registry.domain.digest import Digest
from registry.domain.upload import UploadState
from registry.storage import files, hashing
from registry.storage.files import DataDirectory
from registry.storage.upload_record import UploadRecord

_WRITE_OUT_EVERY = 16 * 1024 * 1024
_READ_SIZE = 1024 * 1024


class FileUpload:
    """UploadWriter over an open, locked file."""

    def __init__(
        self,
        directory: DataDirectory,
        executor: Executor,
        upload_id: str,
        descriptor: int,
        record: UploadRecord,
        running: hashing.RunningHash,
    ) -> None:
        self._directory = directory
        self._executor = executor
        self._id = upload_id
        self._descriptor = descriptor
        self._record = record
        self._hash = running
        self._hashed_to = record.offset
        self._algorithm = record.algorithm
        self._offset = record.offset
        self._written_out = record.offset
        self._publishing = False

    @property
    def state(self) -> UploadState:
        return UploadState(self._id, self._record.repository, self._algorithm, self._offset, self._record.opener)

    async def write(self, chunks: Sequence[bytes]) -> None:
        await self._in_thread("writing an upload", lambda: self._write(list(chunks)))

    def _write(self, chunks: list[bytes]) -> None:
        self._directory.check_room(sum(map(len, chunks)))
        if self._hashed_to == self._offset:
            for chunk in chunks:
                self._hash.update(chunk)
                self._hashed_to += len(chunk)
        self._offset += files.write_all(self._descriptor, chunks)
        if self._offset - self._written_out >= _WRITE_OUT_EVERY:
            files.start_write_out(self._descriptor, self._written_out, self._offset - self._written_out)
            self._written_out = self._offset

    async def checkpoint(self) -> UploadState:
        await self._in_thread("keeping the state of an upload", self._save)
        return self.state

    def _save(self, publishing: Digest | None = None) -> None:
        self._hash_up_to_offset()
        before = self._record
        record = UploadRecord.new(
            before.repository, self._hash, self._algorithm, self._offset, before.boot, before.opener
        )
        (record.to_publish(publishing) if publishing else record).save(self._path("state"))

    def rehash_with(self, algorithm: str) -> None:
        if algorithm != self._algorithm:
            self._algorithm = algorithm
            self._hash, self._hashed_to = hashing.start(algorithm), 0

    async def digest(self) -> Digest:
        if self._hashed_to != self._offset:
            await self._in_thread("reading an upload", self._hash_up_to_offset)
        return self._hash.digest()

    def _hash_up_to_offset(self) -> None:
        while self._hashed_to < self._offset:
            size = min(_READ_SIZE, self._offset - self._hashed_to)
            chunk = os.pread(self._descriptor, size, self._hashed_to)
            if not chunk:
                raise OSError(errno.EIO, "the staged bytes are shorter than what was written")
            self._hash.update(chunk)
            self._hashed_to += len(chunk)

    async def publish(self, digest: Digest) -> LinkBlob:
        def publish() -> None:
            os.fsync(self._descriptor)
            # From here on, a crash before the blob's row is written leaves a file that nothing names:
            # the state says which, so that clearing up this session removes it.
            self._save(digest)
            self._publishing = True
            files.replace(self._path("data"), self._directory.blob(digest), self._executor)

        await self._in_thread("completing a blob", publish)
        return LinkBlob(self._record.repository, str(digest), self._offset)

    async def complete(self) -> None:
        await self._in_thread("ending an upload", self._path("state").unlink)

    async def discard(self) -> None:
        if not self._publishing:
            await self._in_thread("ending an upload", lambda: remove_files(self._directory, self._id))

    def _path(self, kind: str) -> Path:
        return self._directory.uploads / f"{self._id}.{kind}"

    async def _in_thread(self, what: str, work: Callable[[], None]) -> None:
        await files.in_thread(self._executor, what, work)


def remove_files(directory: DataDirectory, upload_id: str) -> None:
    """Drop a session, or what an interrupted command staged; the state goes last, since it is what finds the rest."""
    for kind in ("data", "draft", "probe", "part", "state"):
        with suppress(FileNotFoundError):
            os.unlink(f"{directory.uploads}/{upload_id}.{kind}")  # noqa: PTH108 - a path object takes longer than the call
