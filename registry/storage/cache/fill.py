"""A blob on its way from its store into the cache, and those who read it meanwhile."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import closing, suppress
from functools import partial
from typing import TypeVar

import structlog

from registry.errors import RegistryError, StorageFailure
from registry.ports import BlobFile, BlobStream, StoredBlob, reading
from registry.storage.cache.directory import CacheDirectory, FillingFile, Identity
from registry.storage.files import in_thread

log = structlog.get_logger(__name__)

T = TypeVar("T")

_CHUNK = 512 * 1024

Source = Callable[[StoredBlob], Awaitable[BlobFile | BlobStream]]
"""Opens a blob in its store."""


class CacheUnusableError(Exception):
    """The cache has no room, or its disk failed: the store has to be read itself."""


class Fill:
    """One read of the store for all who want a blob at the same time; they follow the growing file.

    The last bytes are shown once the hash of all is right. When the last reader goes away before the end, the
    fill ends too.
    """

    def __init__(self, blob: StoredBlob, source: Source, directory: CacheDirectory, executor: Executor) -> None:
        self._blob = blob
        self._source = source
        self._directory = directory
        self._executor = executor
        self._file: FillingFile | None = None
        self._visible = 0
        self._moved = asyncio.Event()
        self._readers = 0
        self._failure: Exception | None = None
        self._has_ended = False
        self.is_over = False
        """Nobody may join any more."""
        self.published: Identity | None = None
        """What became a complete file of the cache."""
        self.task = asyncio.create_task(self._run())

    def has(self, position: int) -> bool:
        """Whether the bytes before `position` are there already."""
        return position <= self._visible

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `stop` as they come. Raises what the store did, and CacheUnusableError."""
        self._readers += 1
        try:
            while start < stop:
                while self._visible <= start:
                    if self._failure is not None:
                        raise copy.copy(self._failure) from self._failure
                    await self._moved.wait()
                chunk = await self._pread(start, min(stop, self._visible, start + _CHUNK))
                yield chunk
                start += len(chunk)
        finally:
            self._readers -= 1
            if not self._readers:
                self.is_over = True
                self.task.cancel()
                self._close()

    async def _pread(self, start: int, stop: int) -> bytes:
        assert self._file is not None
        chunk = await self._on_disk("reading", partial(os.pread, self._file.fd, stop - start, start))
        if not chunk:
            raise CacheUnusableError("the file of the cache became shorter")
        return chunk

    async def _run(self) -> None:
        try:
            await self._on_disk("making room", self._reserve)
            if self._file is None:
                raise CacheUnusableError("there is no room for it")
            await self._copy(self._file)
            self._show(self._blob.size)
        except (RegistryError, CacheUnusableError) as error:
            self._fail(error)
        except Exception as error:
            log.exception("filling the cache failed", digest=str(self._blob.digest))
            self._fail(CacheUnusableError(repr(error)))
        finally:
            self.is_over = self._has_ended = True
            if self._file is not None:
                self._file.discard()
            if self._visible < self._blob.size and self._failure is None:
                self._fail(CacheUnusableError("filling it was cancelled"))
            self._close()

    def _reserve(self) -> None:
        """In a thread. It stores the file itself, as a task that is cancelled meanwhile gets no result to store."""
        self._file = self._directory.reserve(self._blob.digest, self._blob.size)

    async def _copy(self, file: FillingFile) -> None:
        """Raises StorageFailure where the bytes are not what the digest names."""
        blob, written, running = self._blob, 0, hashlib.new(self._blob.digest.algorithm)

        def append(chunk: bytes) -> None:
            running.update(chunk)
            file.append(chunk)

        source = await self._source(blob)
        assert not isinstance(source, BlobFile)
        with closing(source):
            async with reading(source.read(0, blob.size)) as chunks:
                async for chunk in chunks:
                    written += len(chunk)
                    if written > blob.size:
                        break
                    await self._on_disk("writing", partial(append, chunk))
                    if written < blob.size:
                        self._show(written)
        if written != blob.size or running.hexdigest() != blob.digest.hex:
            log.error("blob is damaged: what its store gives has changed", digest=str(blob.digest), size=written)
            raise StorageFailure("the bytes of this blob were changed; push it again", {"digest": str(blob.digest)})
        with suppress(CacheUnusableError):  # then it is not kept, but who reads it now has all of it
            self.published = await self._on_disk("renaming", partial(self._directory.publish, file))

    def _show(self, visible: int) -> None:
        self._visible = visible
        self._wake()

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _on_disk(self, what: str, work: Callable[[], T]) -> T:
        """Raises CacheUnusableError."""
        try:
            return await in_thread(self._executor, f"{what} in the cache", work)
        except RegistryError as error:
            log.warning("the cache cannot be used", digest=str(self._blob.digest), doing=what, error=error.detail)
            raise CacheUnusableError(error.message) from error

    def _close(self) -> None:
        """Close the file if nobody needs it any more. In a thread: closing a large one without a name takes long."""
        if self._file is not None and self._has_ended and not self._readers:
            file, self._file = self._file, None
            with suppress(RuntimeError):  # the threads have ended, and the process is about to
                self._executor.submit(os.close, file.fd)
