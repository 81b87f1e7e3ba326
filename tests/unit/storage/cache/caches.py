"""Readers of a cache, and what lies in its directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from registry.ports import BlobFile, StoredBlob, reading
from registry.storage.cache.cached_blobs import CachedBlobs
from registry.storage.memory.streams import MemoryStreams
from tests.harness.blobs import content_of
from tests.harness.content import random_bytes

SIZE = 1_000_000
BOUND = 4 * SIZE
CONTENT = random_bytes(SIZE)

NewCache = Callable[..., CachedBlobs]


@dataclass
class Counts:
    """CacheCounts."""

    hits: int = 0
    misses: int = 0
    filled: int = 0
    holds: int = 0

    def cache_hit(self) -> None:
        self.hits += 1

    def cache_missed(self) -> None:
        self.misses += 1

    def cache_filled(self, size: int) -> None:
        self.filled += size

    def cache_holds(self, size: int) -> None:
        self.holds = size


class Gate:
    """Holds the store's chunks back from a position on, until it is opened."""

    def __init__(self, store: MemoryStreams, position: int) -> None:
        self._position = position
        self._open = asyncio.Event()
        self.error: Exception | None = None
        store.before = self._before

    async def _before(self, position: int) -> None:
        if position >= self._position:
            await self._open.wait()
            if self.error is not None:
                raise self.error

    def open(self, error: Exception | None = None) -> None:
        self.error = error
        self._open.set()


async def read(cache: CachedBlobs, blob: StoredBlob) -> bytes:
    opened = await cache.open(blob)
    try:
        assert opened.size == blob.size
        return await content_of(opened, blob.size)
    finally:
        opened.close()


async def read_range(cache: CachedBlobs, blob: StoredBlob, start: int, stop: int) -> bytes:
    opened = await cache.open(blob)
    try:
        if isinstance(opened, BlobFile):
            return os.pread(opened.fd, stop - start, start)
        return b"".join([chunk async for chunk in opened.read(start, stop)])
    finally:
        opened.close()


async def read_into(got: list[bytes], cache: CachedBlobs, blob: StoredBlob) -> None:
    opened = await cache.open(blob)
    assert not isinstance(opened, BlobFile)
    async for chunk in opened.read(0, blob.size):
        got += [chunk]


async def is_cached(cache: CachedBlobs, blob: StoredBlob) -> bool:
    opened = await cache.open(blob)
    opened.close()
    return isinstance(opened, BlobFile)


async def some_of(cache: CachedBlobs, blob: StoredBlob, least: int) -> bytes:
    """A client that goes away after some bytes."""
    opened, got = await cache.open(blob), b""
    assert not isinstance(opened, BlobFile)
    async with reading(opened.read(0, blob.size)) as chunks:
        async for chunk in chunks:
            got += chunk
            if len(got) >= least:
                break
    opened.close()
    return got


def names(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "cache").iterdir() if path.name != "lock")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def used(data: Path) -> int:
    return sum(path.stat().st_size for path in (data / "cache").iterdir())


async def settled(data: Path) -> None:
    """Until nothing is being filled."""
    async with asyncio.timeout(5):
        while any(name.endswith(".filling") for name in names(data)):
            await asyncio.sleep(0.005)
