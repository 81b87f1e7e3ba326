"""Uploads as files: the bytes so far, and beside them a small file with the state that the client was told.

An acknowledged offset survives a crash of the process because the page cache does. After a crash of
the machine (another boot) the bytes are read again and have to give the digest that was kept with the
offset; where they do not, the upload begins anew at byte 0.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from registry.domain.digest import Digest
from registry.domain.upload import UploadState
from registry.errors import BlobUploadUnknown, StorageFailure, UploadBusy
from registry.ports import AbandonedUpload
from registry.storage import hashing
from registry.storage.file_upload import FileUpload, remove_files
from registry.storage.files import DataDirectory, in_thread, try_lock
from registry.storage.upload_record import UploadRecord

log = structlog.get_logger(__name__)

_READ_SIZE = 1024 * 1024
_LOCK_TRIES = 10
_LOCK_PAUSE = 0.02  # seconds

T = TypeVar("T")


class FileUploads:
    """UploadStore on a local file system; any process that shares the directory can go on with a session."""

    def __init__(self, directory: DataDirectory, executor: Executor, boot: str) -> None:
        self._directory = directory
        self._executor = executor
        self._boot = boot

    async def begin(self, repository: str, algorithm: str, opener: str = "") -> UploadState:
        upload_id = str(uuid.uuid4())

        def begin() -> UploadState:
            self._directory.check_room()
            record = UploadRecord.new(repository, hashing.start(algorithm), algorithm, 0, self._boot, opener)
            record.save(self._path(upload_id, "state"))
            return record.upload_state(upload_id)

        return await self._in_thread("beginning an upload", begin)

    async def state(self, repository: str, upload_id: str) -> UploadState:
        upload_id = _checked(upload_id)
        told = await self._in_thread("looking for an upload", partial(self._told, repository, upload_id))
        if told is not None:
            return told
        async with self.open(repository, upload_id) as upload:
            return upload.state

    def _told(self, repository: str, upload_id: str) -> UploadState | None:
        """What the client was told, without holding the session; None where the bytes have to be looked at."""
        record = self._record(repository, upload_id)
        try:
            size = self._path(upload_id, "data").stat().st_size
        except FileNotFoundError:
            size = 0
        fresh = record.boot == self._boot and size >= record.offset and not record.publishing
        return record.upload_state(upload_id) if fresh else None

    @asynccontextmanager
    async def open(self, repository: str, upload_id: str) -> AsyncIterator[FileUpload]:
        upload_id = _checked(upload_id)
        upload, descriptor = await self._open_soon(repository, upload_id)
        try:
            yield upload
        finally:
            os.close(descriptor)

    async def _open_soon(self, repository: str, upload_id: str) -> tuple[FileUpload, int]:
        """Open a session; whoever clears up holds it for moments only, so a busy one is worth a short wait."""
        for _ in range(_LOCK_TRIES):
            try:
                return await self._in_thread("opening an upload", partial(self._open, repository, upload_id))
            except UploadBusy:
                await asyncio.sleep(_LOCK_PAUSE)
        return await self._in_thread("opening an upload", partial(self._open, repository, upload_id))

    def _open(self, repository: str, upload_id: str) -> tuple[FileUpload, int]:
        try:
            descriptor = self._lock(upload_id)
        except UploadBusy:
            self._record(repository, upload_id)  # another repository's session is unknown, not busy
            raise
        try:
            record = self._record(repository, upload_id)
            size = os.fstat(descriptor).st_size
            if record.publishing and size < max(record.offset, 1):  # its bytes are a blob by now
                raise _unknown(upload_id)
            record, running = self._recovered(record, descriptor, size)
            if size != record.offset:
                os.ftruncate(descriptor, record.offset)
            os.lseek(descriptor, record.offset, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return FileUpload(self._directory, self._executor, upload_id, descriptor, record, running), descriptor

    def _record(self, repository: str, upload_id: str) -> UploadRecord:
        record = UploadRecord.load(self._path(upload_id, "state"))
        if record is None or record.repository != repository:
            raise _unknown(upload_id)
        return record

    def _lock(self, upload_id: str) -> int:
        """Open the bytes of a session for this request alone."""
        state = self._path(upload_id, "state")
        if not state.exists():
            raise _unknown(upload_id)
        descriptor = os.open(state.with_suffix(".data"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not try_lock(descriptor):
            os.close(descriptor)
            raise UploadBusy("another request is writing to this upload", {"upload": upload_id})
        if not state.exists():  # it ended while this request came: what O_CREAT made is not wanted
            remove_files(self._directory, upload_id)
            os.close(descriptor)
            raise _unknown(upload_id)
        return descriptor

    def _recovered(self, record: UploadRecord, descriptor: int, size: int) -> tuple[UploadRecord, hashing.RunningHash]:
        """The state to go on from: the one that was told, or byte 0 where its bytes are not all there."""
        if record.boot == self._boot and size >= record.offset:
            running = record.resume()
            if running is not None:
                return record, running
        running = hashing.start(record.algorithm)
        for chunk in _chunks(descriptor, record.offset):
            running.update(chunk)
        if str(running.digest()) != record.digest:
            running = hashing.start(record.algorithm)
            record = replace(record, offset=0)
        anew = (record.repository, running, record.algorithm, record.offset, self._boot, record.opener)
        return UploadRecord.new(*anew), running

    async def abandoned(self, before: float) -> AsyncIterator[AbandonedUpload]:
        for upload_id in await self._in_thread("listing the uploads", partial(self._idle, before)):
            try:
                descriptor = await self._in_thread("locking an upload", partial(self._lock_abandoned, upload_id))
            except (UploadBusy, BlobUploadUnknown):
                continue
            except StorageFailure as error:  # one that cannot be cleared up shall not keep the others
                log.error("an abandoned upload cannot be cleared up", upload=upload_id, detail=error.detail)
                continue
            try:
                # Locking made ID.data anew where there was none: only the state says whether a client came since.
                if _modified(self._path(upload_id, "state")) >= before:
                    continue
                record = UploadRecord.load(self._path(upload_id, "state"))
                published = Digest.parse(record.publishing) if record and record.publishing else None
                yield AbandonedUpload(upload_id, published)
                await self._in_thread("clearing up", partial(remove_files, self._directory, upload_id))
            finally:
                os.close(descriptor)

    def _lock_abandoned(self, upload_id: str) -> int:
        if not self._path(upload_id, "state").is_file():  # a crash left this before the session had begun
            remove_files(self._directory, upload_id)
            raise _unknown(upload_id)
        return self._lock(upload_id)

    def _idle(self, before: float) -> list[str]:
        return [upload_id for upload_id, last_byte in self._sessions() if last_byte < before]

    async def active_repositories(self, since: float) -> frozenset[str]:
        def active() -> frozenset[str]:
            records = (
                UploadRecord.load(self._path(upload_id, "state"))
                for upload_id, last_byte in self._sessions()
                if last_byte >= since or self._held(upload_id)
            )
            return frozenset(record.repository for record in records if record)

        return await self._in_thread("listing the uploads", active)

    def _held(self, upload_id: str) -> bool:
        try:
            descriptor = os.open(self._path(upload_id, "data"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not try_lock(descriptor)
        finally:
            os.close(descriptor)

    async def check(self) -> None:
        """Raises StorageFull or StorageFailure where no file can be written."""

        def probe() -> None:
            path = self._path(str(uuid.uuid4()), "probe")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, b"ready?")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                path.unlink()

        await self._in_thread("writing to the data directory", probe)

    def _sessions(self) -> Iterator[tuple[str, float]]:
        """Every session and when it had its last byte (or its beginning)."""
        newest: dict[str, float] = {}
        for path in self._directory.uploads.iterdir():
            newest[path.stem] = max(newest.get(path.stem, 0.0), _modified(path))
        yield from newest.items()

    def _path(self, upload_id: str, kind: str) -> Path:
        return self._directory.uploads / f"{upload_id}.{kind}"

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        return await in_thread(self._executor, what, work)


def _modified(path: Path) -> float:
    """When a file was last written, 0 where it has gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _chunks(descriptor: int, size: int) -> Iterator[bytes]:
    position = 0
    while position < size and (chunk := os.pread(descriptor, min(_READ_SIZE, size - position), position)):
        yield chunk
        position += len(chunk)


def _checked(upload_id: str) -> str:
    """Only an id that we could have made becomes part of a path. Raises BlobUploadUnknown."""
    with suppress(ValueError):
        if len(upload_id) == 36:
            return str(uuid.UUID(upload_id))
    raise _unknown(upload_id)


def _unknown(upload_id: str) -> BlobUploadUnknown:
    return BlobUploadUnknown("no such upload: it ended, was cancelled or expired", {"upload": upload_id[:64]})
