"""A cache on the local disk in front of a store of blobs that lie elsewhere.

A blob that is read as a whole goes into the cache on its way; all who want it meanwhile, in whatever process of the
node, follow that one read. A complete file of the cache is served as a file. Reads of a range fill nothing: they are
served from what is there, else from the store.

A file is taken to be right once this process has seen it filled or has compared it with its digest, until it is
written to: so damage is found at the first use after a start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, suppress
from functools import partial

import structlog

from registry.domain.digest import Digest
from registry.errors import StorageFailure
from registry.ports import BlobFile, BlobStore, BlobStream, StoredBlob, reading
from registry.storage.cache.counts import CacheCounts
from registry.storage.cache.directory import CacheDirectory
from registry.storage.cache.fill import CacheUnusableError, Fill
from registry.storage.cache.filling import Identity
from registry.storage.cache.room import CacheRoom
from registry.storage.files import DataDirectory, in_thread

log = structlog.get_logger(__name__)

_MOST_REMEMBERED = 100_000


class CachedBlobs:
    """BlobStore over `store`, with at most `bound` bytes of its blobs in DATA/cache; 0 keeps none.

    Blobs that have no location, or are larger than a quarter of the bound, pass by.
    """

    def __init__(
        self, store: BlobStore, directory: DataDirectory, executor: Executor, bound: int, counts: CacheCounts
    ) -> None:
        self._store = store
        self._executor = executor
        self._room = CacheRoom(bound)
        self._counts = counts
        self._files = CacheDirectory(directory, self._room, counts)
        self._fills: dict[Digest, Fill] = {}
        self._right: dict[Digest, Identity] = {}
        self._comparing: dict[Digest, asyncio.Task[None]] = {}

    def tidy(self) -> None:
        """Remove what a process that died left, and what the bound does not allow. It blocks: for a thread."""
        try:
            self._files.tidy()
        except OSError as error:
            log.warning("the cache cannot be tidied up", error=str(error))

    async def open(self, blob: StoredBlob) -> BlobFile | BlobStream:
        if not blob.location or not self._room.admits(blob.size):
            return await self._store.open(blob)
        if (file := await self.cached(blob)) is not None:
            self._counts.cache_hit()
            return file
        self._counts.cache_missed()
        opened = await self._store.open(blob)
        return opened if isinstance(opened, BlobFile) else CachedStream(self, blob, opened)

    async def intact(self, blob: StoredBlob) -> bool:
        return await self._store.intact(blob)

    async def url(self, blob: StoredBlob) -> str | None:
        return await self._store.url(blob)

    async def remove(self, digest: Digest) -> None:
        await in_thread(self._executor, "removing a blob from the cache", partial(self._files.drop, digest))
        await self._store.remove(digest)

    async def everything(self) -> AsyncIterator[Sequence[Digest]]:
        async for digests in self._store.everything():
            yield digests

    def fill(self, blob: StoredBlob, *, begin: bool) -> Fill | None:
        """The read of the store that runs for a blob, or a new one."""
        running = self._fills.get(blob.digest)
        if running is not None and not running.is_over:
            return running
        if not begin:
            return None
        started = self._fills[blob.digest] = Fill(blob, self._store.open, self._files, self._executor, self._counts)
        started.task.add_done_callback(lambda _task: self._filled(blob.digest, started))
        return started

    def _filled(self, digest: Digest, fill: Fill) -> None:
        if fill.published is not None:
            self._remember(digest, fill.published)
        if self._fills.get(digest) is fill:
            del self._fills[digest]

    def _remember(self, digest: Digest, identity: Identity) -> None:
        if len(self._right) >= _MOST_REMEMBERED:  # those that are asked for again are compared again
            self._right.clear()
        self._right[digest] = identity

    async def cached(self, blob: StoredBlob) -> BlobFile | None:
        """The complete file of a blob, if its content is right."""
        file = self._files.open(blob.digest, blob.size)
        if file is None:
            self._right.pop(blob.digest, None)
            return None
        if self._files.identity(file) == self._right.get(blob.digest):
            return file
        file.close()
        await self._compare(blob)
        file = self._files.open(blob.digest, blob.size)
        if file is not None and self._files.identity(file) != self._right.get(blob.digest):
            file.close()  # replaced while it was verified; the store has the blob as well
            return None
        return file

    async def _compare(self, blob: StoredBlob) -> None:
        """Verify the cached file of a blob, once for all who ask for it at the same time."""
        comparing = self._comparing.get(blob.digest)
        if comparing is None:
            comparing = self._comparing[blob.digest] = asyncio.create_task(self._compare_alone(blob))
            comparing.add_done_callback(lambda _task: self._comparing.pop(blob.digest))
        await asyncio.shield(comparing)

    async def _compare_alone(self, blob: StoredBlob) -> None:
        work = partial(self._files.verified, blob.digest, blob.size)
        identity = await in_thread(self._executor, "reading the cache", work)
        if identity is not None:
            self._remember(blob.digest, identity)


class CachedStream:
    """BlobStream of a blob that is not in the cache yet."""

    def __init__(self, cache: CachedBlobs, blob: StoredBlob, source: BlobStream) -> None:
        self._cache = cache
        self._blob = blob
        self._source = source

    @property
    def size(self) -> int:
        return self._blob.size

    def close(self) -> None:
        self._source.close()

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        whole = (start, stop) == (0, self._blob.size)
        fill = self._cache.fill(self._blob, begin=False)
        if fill is None:
            if (file := await self._cache.cached(self._blob)) is not None:  # a fill has ended since this was opened
                with closing(file), suppress(StorageFailure):  # where it fails, the rest comes from the store
                    async with reading(file.read(start, stop)) as chunks:
                        async for chunk in chunks:
                            start += len(chunk)
                            yield chunk
            else:
                fill = self._cache.fill(self._blob, begin=whole)
        if fill is not None and fill.has(start):
            try:
                async with reading(fill.read(start, stop)) as chunks:
                    async for chunk in chunks:
                        start += len(chunk)
                        yield chunk
            except CacheUnusableError:
                pass  # the rest comes from the store
        if start < stop:
            async with reading(self._source.read(start, stop)) as chunks:
                async for chunk in chunks:
                    yield chunk
