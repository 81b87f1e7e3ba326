"""A blob on its way from its store into the cache, and those who read it meanwhile."""

from __future__ import annotations

import asyncio
import copy
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import TypeVar

import structlog

from registry.errors import BlobDamaged, RegistryError, Unavailable
from registry.ports import BlobFile, BlobStream, StoredBlob, reading
from registry.storage.cache.counts import CacheCounts
from registry.storage.cache.directory import CacheDirectory
from registry.storage.cache.filling import FillingFile, Hash, Identity
from registry.storage.files import in_thread

log = structlog.get_logger(__name__)

T = TypeVar("T")

_CHUNK = 512 * 1024
# Another process cannot wake us: inotify would, but Python has none, and a look (fstat) costs a microsecond.
_SHORTEST_PAUSE = 0.01  # seconds
_LONGEST_PAUSE = 0.1  # seconds
_STALLED_AFTER = 60.0  # seconds; longer than the client of a store waits for one that is silent
_TAKEN_OVER_WITHIN = 1.0  # seconds

Source = Callable[[StoredBlob], Awaitable[BlobFile | BlobStream]]
"""Opens a blob in its store."""


class CacheUnusableError(Exception):
    """The cache has no room, or its disk failed: the store has to be read itself."""


class Fill:
    """One read of the store for all who want a blob at the same time; they follow the growing file.

    Where another process fills it already, that file is followed, and gone on with should that process end or give up.
    The last bytes are shown once the hash of all is right. When the last reader goes away before the end, the
    fill ends too.
    """

    def __init__(
        self, blob: StoredBlob, source: Source, directory: CacheDirectory, executor: Executor, counts: CacheCounts
    ) -> None:
        self._blob = blob
        self._source = source
        self._directory = directory
        self._executor = executor
        self._counts = counts
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
            if (file := self._file) is None:
                raise CacheUnusableError("there is no room for it")
            if not file.ours:
                await self._follow(file)
            if file.ours:
                await self._copy(file)
            self._show(self._blob.size)
        except RegistryError as error:
            if self._file is not None and self._file.ours:
                self._file.fail(error)
            self._fail(error)
        except CacheUnusableError as error:
            self._fail(error)
        except Exception as error:
            log.exception("filling the cache failed", digest=str(self._blob.digest))
            self._fail(CacheUnusableError(repr(error)))
        finally:
            self.is_over = self._has_ended = True
            was_cancelled = self._visible < self._blob.size and self._failure is None
            if was_cancelled:
                self._fail(CacheUnusableError("filling it was cancelled"))
            if self._file is not None:
                self._leave(self._file, was_cancelled)
            self._close()

    def _leave(self, file: FillingFile, was_cancelled: bool) -> None:
        """Those of another process who follow go on with what was cancelled; where there are none, it goes."""
        if file.ours and self.published is None and not was_cancelled:
            file.discard()
        file.release()
        if file.ours and was_cancelled:
            loop = asyncio.get_running_loop()
            loop.call_later(_TAKEN_OVER_WITHIN, self._in_background, partial(self._directory.clear, file))

    def _reserve(self) -> None:
        """In a thread. It stores the file itself, as a task that is cancelled meanwhile gets no result to store."""
        self._file = self._directory.reserve(self._blob.digest, self._blob.size)
        if self._file is not None and self._file.is_complete and not self._is_right(self._file):
            damaged, self._file = self._file, None
            os.close(damaged.fd)
            self._directory.drop(self._blob.digest)
            raise OSError(errno.EIO, "a file of the cache is damaged")

    def _is_right(self, file: FillingFile) -> bool:
        running = hashlib.new(self._blob.digest.algorithm)
        file.hash_into(running)
        return running.hexdigest() == self._blob.digest.hex

    async def _follow(self, file: FillingFile) -> None:
        """Show what another process fills, until all is there or the file is ours.

        Raises what the store did there, and CacheUnusableError.
        """
        loop = asyncio.get_running_loop()
        pause, grown = _SHORTEST_PAUSE, loop.time()
        while True:
            has_gone = file.lock()  # before the look, which then tells the last word
            length = file.length()
            if length == self._blob.size:
                self.published = file.identity()
                return
            if length > self._blob.size and (failure := file.failure()) is not None:
                raise failure
            if has_gone:
                if await self._on_disk("taking over", partial(self._directory.take_over, file)):
                    return
                raise CacheUnusableError("the process that filled it has given it up")
            if length > self._visible:
                self._show(length)
                pause, grown = _SHORTEST_PAUSE, loop.time()
            elif loop.time() - grown > _STALLED_AFTER:
                raise CacheUnusableError("another process fills it, and gets no further")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _copy(self, file: FillingFile) -> None:
        """Read the store from where the file ends.

        Raises BlobDamaged where the bytes are not what the digest names, and Unavailable where it need not be the
        store that has given others.
        """
        blob, running, last = self._blob, hashlib.new(self._blob.digest.algorithm), b""
        begun = written = await self._on_disk("reading", partial(file.hash_into, running))
        if written < blob.size:
            self._show(written)
            async with self._reading_store(written) as chunks:
                async for chunk in chunks:
                    written += len(chunk)
                    if written > blob.size:
                        break
                    last = chunk if written == blob.size else b""
                    await self._on_disk("writing", partial(_take, file, running, chunk, written < blob.size))
                    self._counts.cache_filled(len(chunk))
                    if written < blob.size:
                        self._show(written)
        if written != blob.size or running.hexdigest() != blob.digest.hex:
            if begun:
                raise Unavailable("a copy of this blob was damaged while it was made; try again")
            log.error("blob is damaged: what its store gives has changed", digest=str(blob.digest), size=written)
            raise BlobDamaged("the bytes of this blob were changed; push it again", {"digest": str(blob.digest)})
        await self._on_disk("writing", partial(file.append, last))
        with suppress(CacheUnusableError):  # then it is not kept, but who reads it now has all of it
            self.published = await self._on_disk("renaming", partial(self._directory.publish, file))

    @asynccontextmanager
    async def _reading_store(self, start: int) -> AsyncIterator[AsyncIterator[bytes]]:
        source = await self._source(self._blob)
        assert not isinstance(source, BlobFile)
        with closing(source):
            async with reading(source.read(start, self._blob.size)) as chunks:
                yield chunks

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
            self._in_background(partial(os.close, file.fd))

    def _in_background(self, work: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the threads have ended, and the process is about to
            self._executor.submit(work)


def _take(file: FillingFile, running: Hash, chunk: bytes, shown: bool) -> None:
    running.update(chunk)
    if shown:
        file.append(chunk)
