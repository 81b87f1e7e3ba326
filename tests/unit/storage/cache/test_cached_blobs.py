"""The cache on disk: what it serves, to one and to many."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from registry.domain.digest import Digest
from registry.errors import BlobUnknown
from registry.ports import StoredBlob
from registry.storage.cache.cached_blobs import CachedBlobs
from registry.storage.cache.directory import CacheDirectory
from registry.storage.memory.streams import MemoryStreams
from tests.harness.content import random_bytes
from tests.unit.storage.cache.caches import (
    BOUND,
    CONTENT,
    SIZE,
    Gate,
    NewCache,
    is_cached,
    names,
    open_files,
    read,
    read_range,
    settled,
    some_of,
)


class TestServing:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_the_second_read_is_served_from_a_file(
        self, cache: CachedBlobs, store: MemoryStreams, algorithm: str
    ) -> None:
        blob = store.add(CONTENT, algorithm)
        assert not await is_cached(cache, blob)
        assert await read(cache, blob) == CONTENT
        assert await is_cached(cache, blob)
        assert await read(cache, blob) == CONTENT
        assert store.reads == [(0, SIZE)]

    async def test_what_is_no_business_of_the_cache_passes_by(self, cache: CachedBlobs, store: MemoryStreams) -> None:
        here = StoredBlob(store.add(b"in a file").digest, 9, "")
        for blob in (here, store.add(b""), store.add(random_bytes(BOUND // 4 + 1))):
            for _ in range(2):
                assert await read(cache, blob) == store.contents[blob.digest]
            assert not await is_cached(cache, blob)

    async def test_a_range_fills_nothing_and_is_served_from_what_is_there(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob
    ) -> None:
        assert await read_range(cache, blob, 5, 15) == CONTENT[5:15]
        await asyncio.sleep(0.05)
        assert not await is_cached(cache, blob)
        await read(cache, blob)
        assert await read_range(cache, blob, 5, 15) == CONTENT[5:15]
        assert store.reads == [(5, 15), (0, SIZE)]

    async def test_a_range_of_what_is_being_filled(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob
    ) -> None:
        gate = Gate(store, 500_000)
        whole = asyncio.create_task(read(cache, blob))
        assert CONTENT.startswith(await some_of(cache, blob, 100_000))
        assert await read_range(cache, blob, 1000, 2000) == CONTENT[1000:2000]
        assert len(store.reads) == 1
        behind = asyncio.create_task(read_range(cache, blob, 900_000, 900_010))
        await asyncio.sleep(0.01)
        gate.open()
        assert await behind == CONTENT[900_000:900_010]
        assert await whole == CONTENT
        assert store.reads == [(0, SIZE), (900_000, 900_010)]

    async def test_what_is_removed_is_gone_from_both(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob, tmp_path: Path
    ) -> None:
        await read(cache, blob)
        await cache.remove(blob.digest)
        assert names(tmp_path) == []
        assert not await cache.intact(blob)
        with pytest.raises(BlobUnknown):
            await read(cache, blob)

    async def test_the_rest_is_asked_of_the_store(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob
    ) -> None:
        store.address = "http://store"
        assert await cache.url(blob) == f"http://store/{blob.location}"
        assert [digests async for digests in cache.everything()] == [[blob.digest]]


class TestManyReaders:
    async def test_cost_the_store_one_read(self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob) -> None:
        gate = Gate(store, 300_000)
        readers = [asyncio.create_task(read(cache, blob)) for _ in range(25)]
        await asyncio.sleep(0.05)
        readers += [asyncio.create_task(read(cache, blob)) for _ in range(25)]
        await asyncio.sleep(0.05)
        gate.open()
        assert await asyncio.gather(*readers) == [CONTENT] * 50
        assert store.reads == [(0, SIZE)]

    async def test_get_bytes_before_the_last_one_has_come(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob
    ) -> None:
        gate = Gate(store, 900_000)
        whole = asyncio.create_task(read(cache, blob))
        assert await some_of(cache, blob, 700_000)
        gate.open()
        assert await whole == CONTENT

    async def test_one_that_goes_away_does_not_stop_the_others(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob
    ) -> None:
        gate = Gate(store, 500_000)
        first = asyncio.create_task(read(cache, blob))
        await asyncio.sleep(0.02)
        others = [asyncio.create_task(read(cache, blob)) for _ in range(3)]
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.wait([first])
        gate.open()
        assert await asyncio.gather(*others) == [CONTENT] * 3
        assert store.reads == [(0, SIZE)]
        assert await is_cached(cache, blob)

    async def test_when_all_have_gone_nothing_is_left(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob, tmp_path: Path
    ) -> None:
        gate = Gate(store, 500_000)
        descriptors = open_files()
        for _ in range(3):
            await asyncio.gather(*(some_of(cache, blob, 100_000) for _ in range(3)))
        await settled(tmp_path)
        assert names(tmp_path) == []
        await asyncio.sleep(0.05)
        assert open_files() == descriptors
        gate.open()
        assert await read(cache, blob) == CONTENT

    async def test_one_that_comes_as_the_last_one_goes_begins_anew(
        self, cache: CachedBlobs, store: MemoryStreams, blob: StoredBlob
    ) -> None:
        for _ in range(20):
            await some_of(cache, blob, 1)
            assert await read(cache, blob) == CONTENT
            assert await is_cached(cache, blob)
            await cache.remove(blob.digest)
            store.contents[blob.digest] = CONTENT


class TestDamage:
    @pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], CONTENT + b"?", CONTENT[:-1] + b"?"])
    @pytest.mark.parametrize("process", ["the same", "another"])
    async def test_is_found_and_the_blob_read_anew(
        self,
        cache: CachedBlobs,
        new_cache: NewCache,
        store: MemoryStreams,
        blob: StoredBlob,
        damaged: bytes,
        process: str,
        tmp_path: Path,
    ) -> None:
        await read(cache, blob)
        await asyncio.sleep(0.02)  # file times are as coarse as the clock of the kernel
        (tmp_path / "cache" / f"sha256-{blob.digest.hex}").write_bytes(damaged)
        reader = cache if process == "the same" else new_cache()
        assert await read(reader, blob) == CONTENT
        assert store.reads == [(0, SIZE)] * 2
        assert await is_cached(reader, blob)

    async def test_another_process_compares_once_for_all(
        self,
        cache: CachedBlobs,
        new_cache: NewCache,
        store: MemoryStreams,
        blob: StoredBlob,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await read(cache, blob)
        compared, verified = [], CacheDirectory.verified

        def counting(directory: CacheDirectory, digest: Digest, size: int) -> object:
            compared.append(digest)
            return verified(directory, digest, size)

        monkeypatch.setattr(CacheDirectory, "verified", counting)
        other = new_cache()
        assert await asyncio.gather(*(read(other, blob) for _ in range(20))) == [CONTENT] * 20
        assert await read(cache, blob) == CONTENT
        assert (len(compared), len(store.reads)) == (1, 1)
