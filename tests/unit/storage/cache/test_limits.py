"""The cache on disk: its bound, its leftovers, and when the store or the disk fails."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from pathlib import Path

import pytest

from registry.errors import BlobUnknown, StorageFailure, Unavailable
from registry.ports import BlobFile, StoredBlob
from registry.storage.cache.cached_blobs import CachedBlobs
from registry.storage.cache.directory import CacheDirectory
from registry.storage.cache.room import CacheRoom
from registry.storage.files import DataDirectory
from registry.storage.memory.streams import MemoryStreams
from tests.harness.blobs import content_of
from tests.harness.content import random_bytes
from tests.unit.storage.cache.caches import (
    BOUND,
    CONTENT,
    SIZE,
    Counts,
    Gate,
    NewCache,
    is_cached,
    names,
    read,
    read_into,
    read_range,
    settled,
    used,
)


class TestFailures:
    @pytest.mark.parametrize("error", [Unavailable("away"), StorageFailure("refused")])
    @pytest.mark.parametrize("at", [0, 500_000])
    async def test_of_the_store_reach_every_reader(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob, at: int, error: Exception, tmp_path: Path
    ) -> None:
        gate = Gate(store, at)
        readers = [asyncio.create_task(read(cache, blob)) for _ in range(5)]
        await asyncio.sleep(0.02)
        gate.open(error)
        results = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(result) for result in results] == [type(error)] * 5
        assert len({id(result) for result in results}) == 5, "each raises its own"
        assert len(store.reads) == 1
        await settled(tmp_path)
        assert names(tmp_path) == []
        gate.open()
        assert await read(cache, blob) == CONTENT

    async def test_a_blob_that_is_missing(self, cache: CachedBlobs, blob: StoredBlob, store: MemoryStreams) -> None:
        del store.contents[blob.digest]
        with pytest.raises(BlobUnknown) as caught:
            await read(cache, blob)
        assert caught.value.detail == {"digest": str(blob.digest)}

    @pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"?", CONTENT[:-1], b""])
    async def test_wrong_bytes_are_neither_kept_nor_given_as_the_whole(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob, wrong: bytes, tmp_path: Path
    ) -> None:
        store.contents[blob.digest] = wrong
        got: list[bytes] = []
        with pytest.raises(StorageFailure):
            await read_into(got, cache, blob)
        assert sum(map(len, got)) < SIZE
        await settled(tmp_path)
        assert names(tmp_path) == []

    async def test_of_the_disk_leave_the_store(
        self,
        cache: CachedBlobs,
        store: MemoryStreams,
        blob: StoredBlob,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        writes = iter(range(100))

        def full_soon(descriptor: int, chunks: list[bytes]) -> int:
            if next(writes) >= 5:
                raise OSError(errno.ENOSPC, "full")
            return os.writev(descriptor, chunks)

        monkeypatch.setattr("registry.storage.cache.filling.write_all", full_soon)
        assert await asyncio.gather(*(read(cache, blob) for _ in range(3))) == [CONTENT] * 3
        assert store.reads[0] == (0, SIZE)
        assert all(start > 0 for start, _ in store.reads[1:]), "what was read once is not read again"
        await settled(tmp_path)
        assert names(tmp_path) == []

    async def test_a_directory_that_cannot_be_used(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob, tmp_path: Path
    ) -> None:
        (tmp_path / "cache").write_bytes(b"no directory")
        cache.tidy()
        assert await read(cache, blob) == CONTENT
        assert await read(cache, blob) == CONTENT

    async def test_a_disk_at_its_reserve(self, new_cache: NewCache, blob: StoredBlob, tmp_path: Path) -> None:
        cache = new_cache(reserve=2**62)
        assert await read(cache, blob) == CONTENT
        assert names(tmp_path) == []


class TestBound:
    async def test_the_longest_unused_goes(self, cache: CachedBlobs, store: MemoryStreams) -> None:
        blobs = [store.add(random_bytes(SIZE, seed)) for seed in range(5)]
        for blob in blobs[:4]:
            await read(cache, blob)
        assert await is_cached(cache, blobs[0])
        await read(cache, blobs[4])
        assert [await is_cached(cache, blob) for blob in blobs] == [True, False, True, True, True]

    async def test_one_that_is_open_can_be_read_to_the_end(self, cache: CachedBlobs, store: MemoryStreams) -> None:
        blobs = [store.add(random_bytes(SIZE, seed)) for seed in range(6)]
        await read(cache, blobs[0])
        opened = await cache.open(blobs[0])
        for blob in blobs[1:]:
            await read(cache, blob)
        assert not await is_cached(cache, blobs[0])
        assert isinstance(opened, BlobFile)
        assert await content_of(opened, SIZE) == store.contents[blobs[0].digest]
        opened.close()

    async def test_holds_with_many_fills_at_once(
        self, new_cache: NewCache, store: MemoryStreams, tmp_path: Path
    ) -> None:
        """In two processes: those that find no room pass by."""
        most, stop = 0, threading.Event()
        blobs = [store.add(random_bytes(SIZE // (1 + seed % 3), seed)) for seed in range(24)]
        caches = [new_cache(), new_cache()]

        def watch() -> None:
            nonlocal most
            root = CacheDirectory(DataDirectory(tmp_path, 0), CacheRoom(BOUND), Counts())
            while not stop.is_set():
                with root._locked():
                    most = max(most, used(tmp_path))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            for _ in range(3):
                results = await asyncio.gather(*(read(cache, blob) for blob in blobs for cache in caches))
                assert results == [store.contents[blob.digest] for blob in blobs for _ in caches]
        finally:
            stop.set()
            watching.join()
        assert SIZE < most <= BOUND
        assert names(tmp_path)

    async def test_a_smaller_bound_is_kept_from_the_start(
        self, cache: CachedBlobs, new_cache: NewCache, store: MemoryStreams, tmp_path: Path
    ) -> None:
        for seed in range(4):
            await read(cache, store.add(random_bytes(SIZE, seed)))
        new_cache(BOUND // 2).tidy()
        assert len(names(tmp_path)) == 2
        new_cache(0).tidy()
        assert names(tmp_path) == []


class TestRestart:
    async def test_blobs_stay_and_leftovers_go(
        self,
        cache: CachedBlobs,
        new_cache: NewCache,
        store: MemoryStreams,
        blob: StoredBlob,
        tmp_path: Path,
    ) -> None:
        await read(cache, blob)
        left = tmp_path / "cache" / f"sha256-{'0' * 64}.1000.filling"
        left.write_bytes(b"of a process that died")
        other = new_cache()
        other.tidy()
        assert left.exists(), "those who followed it may be about to go on with it"
        os.utime(left, (0, 0))
        other.tidy()
        assert names(tmp_path) == [f"sha256-{blob.digest.hex}"]
        assert await read(other, blob) == CONTENT
        assert store.reads == [(0, SIZE)]

    async def test_what_another_process_fills_is_no_leftover(
        self,
        cache: CachedBlobs,
        new_cache: NewCache,
        store: MemoryStreams,
        blob: StoredBlob,
        tmp_path: Path,
    ) -> None:
        gate = Gate(store, 500_000)
        running = asyncio.create_task(read(cache, blob))
        while not (tmp_path / "cache").exists() or not names(tmp_path):
            await asyncio.sleep(0.005)
        new_cache().tidy()
        assert len(names(tmp_path)) == 1
        gate.open()
        assert await running == CONTENT
        assert await is_cached(cache, blob)

    def test_without_a_bound_no_directory_is_made(self, new_cache: NewCache, tmp_path: Path) -> None:
        new_cache(0).tidy()
        assert not (tmp_path / "cache").exists()


async def test_random_use_gives_the_right_bytes(new_cache: NewCache, store: MemoryStreams, tmp_path: Path) -> None:
    """Readers of three processes that come, go and skip, while blobs are pushed out."""
    chance = random.Random(3)  # noqa: S311 - no secret
    store.chunk = 10_000
    blobs = [store.add(random_bytes(chance.randrange(1, 250_000), seed)) for seed in range(12)]
    caches = [new_cache(1_000_000) for _ in range(3)]

    async def one() -> None:
        cache, blob = chance.choice(caches), chance.choice(blobs)
        content = store.contents[blob.digest]
        await asyncio.sleep(chance.random() / 20)
        match chance.randrange(4):
            case 0:
                start = chance.randrange(blob.size)
                assert await read_range(cache, blob, start, blob.size) == content[start:]
            case 1:
                task = asyncio.create_task(read(cache, blob))
                await asyncio.sleep(chance.random() / 100)
                task.cancel()
            case _:
                assert await read(cache, blob) == content

    for _ in range(5):
        await asyncio.gather(*(one() for _ in range(60)))
    await settled(tmp_path)
    assert used(tmp_path) <= 1_000_000
