"""The cache on disk, as several processes of a node use it at the same time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from registry.errors import BlobDamaged, BlobUnknown, RegistryError, StorageFailure, Unavailable
from registry.ports import StoredBlob
from registry.storage.cache.cached_blobs import CachedBlobs
from registry.storage.files import write_all
from registry.storage.memory.streams import MemoryStreams
from tests.unit.storage.cache.caches import (
    CONTENT,
    SIZE,
    Gate,
    NewCache,
    is_cached,
    names,
    open_files,
    read,
    read_into,
    settled,
    some_of,
)


@pytest.fixture
def caches(new_cache: NewCache) -> list[CachedBlobs]:
    return [new_cache() for _ in range(3)]


async def test_cost_the_store_one_read_together(
    caches: list[CachedBlobs], store: MemoryStreams, blob: StoredBlob, tmp_path: Path
) -> None:
    gate = Gate(store, 300_000)
    descriptors = open_files()
    readers = [asyncio.create_task(read(cache, blob)) for cache in caches for _ in range(5)]
    await asyncio.sleep(0.3)
    readers += [asyncio.create_task(read(cache, blob)) for cache in caches for _ in range(5)]
    assert await some_of(caches[2], blob, 200_000), "bytes come before the last one has"
    gate.open()
    assert await asyncio.gather(*readers) == [CONTENT] * 30
    for cache in caches:
        assert await is_cached(cache, blob)
        assert await read(cache, blob) == CONTENT
    assert store.reads == [(0, SIZE)]
    assert names(tmp_path) == [f"sha256-{blob.digest.hex}"]
    await asyncio.sleep(0.1)
    assert open_files() == descriptors


@pytest.mark.parametrize(
    "error", [Unavailable("away", {"error": "503"}), StorageFailure("refused"), BlobUnknown("gone", {"digest": "d"})]
)
async def test_are_told_alike_what_the_store_said(
    caches: list[CachedBlobs], store: MemoryStreams, blob: StoredBlob, error: RegistryError, tmp_path: Path
) -> None:
    gate = Gate(store, 500_000)
    readers = [asyncio.create_task(read(cache, blob)) for cache in caches for _ in range(2)]
    await asyncio.sleep(0.3)
    gate.open(error)
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [type(error)] * 6
    assert all(result.detail == error.detail for result in results if isinstance(result, RegistryError))
    assert len(store.reads) == 1
    await settled(tmp_path)
    assert names(tmp_path) == []


async def test_never_see_wrong_bytes_as_the_whole(
    caches: list[CachedBlobs],
    store: MemoryStreams,
    blob: StoredBlob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = []

    def noting(descriptor: int, chunks: list[bytes]) -> int:
        written = write_all(descriptor, chunks)
        lengths.append(os.fstat(descriptor).st_size)
        return written

    monkeypatch.setattr("registry.storage.cache.filling.write_all", noting)
    store.contents[blob.digest] = CONTENT[:-1] + b"?"
    gate, got = Gate(store, 500_000), [list[bytes]() for _ in caches]
    readers = [asyncio.create_task(read_into(one, cache, blob)) for one, cache in zip(got, caches, strict=True)]
    await asyncio.sleep(0.3)
    gate.open()
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [BlobDamaged] * 3
    assert all(0 < sum(map(len, one)) < SIZE for one in got)
    assert 0 < max(lengths) < SIZE, "not even for a moment"
    assert len(store.reads) == 1
    assert names(tmp_path) == []


async def test_go_on_where_another_one_gave_up(
    caches: list[CachedBlobs], store: MemoryStreams, blob: StoredBlob, tmp_path: Path
) -> None:
    """All its clients have left; those of the others have not."""
    gate = Gate(store, 500_000)
    first = asyncio.create_task(read(caches[0], blob))
    await asyncio.sleep(0.1)
    others = [asyncio.create_task(read(cache, blob)) for cache in caches[1:] for _ in range(3)]
    await asyncio.sleep(0.2)
    first.cancel()
    await asyncio.sleep(0.3)
    gate.open()
    assert await asyncio.gather(*others) == [CONTENT] * 6
    (begun, (position, end)) = store.reads
    assert (begun, end) == ((0, SIZE), SIZE)
    assert 400_000 < position < 600_000
    assert names(tmp_path) == [f"sha256-{blob.digest.hex}"]
    assert await read(caches[0], blob) == CONTENT


async def test_do_not_wait_for_one_that_stands_still(
    caches: list[CachedBlobs], store: MemoryStreams, blob: StoredBlob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.storage.cache.fill._STALLED_AFTER", 0.3)
    gate = Gate(store, 500_000)
    first = asyncio.create_task(read(caches[0], blob))
    await asyncio.sleep(0.1)
    store.before = MemoryStreams().before
    assert await read(caches[1], blob) == CONTENT
    assert store.reads[0] == (0, SIZE)
    assert store.reads[1][0] > 400_000
    gate.open()
    assert await first == CONTENT


async def test_are_given_nothing_of_a_damaged_leftover_as_the_whole(
    caches: list[CachedBlobs], store: MemoryStreams, blob: StoredBlob, tmp_path: Path
) -> None:
    """A power loss can leave one, and nobody knows before all of it is there."""
    left = tmp_path / "cache" / f"sha256-{blob.digest.hex}.{SIZE}.filling"
    left.parent.mkdir()
    left.write_bytes(bytes(1000))
    got: list[bytes] = []
    with pytest.raises(Unavailable, match="try again"):
        await read_into(got, caches[0], blob)
    assert sum(map(len, got)) < SIZE
    assert await read(caches[1], blob) == CONTENT
    assert store.reads == [(1000, SIZE), (0, SIZE)]


async def test_a_leftover_that_is_right_is_used(
    caches: list[CachedBlobs], store: MemoryStreams, blob: StoredBlob, tmp_path: Path
) -> None:
    left = tmp_path / "cache" / f"sha256-{blob.digest.hex}.{SIZE}.filling"
    left.parent.mkdir()
    for there, reads in ((CONTENT[:1000], [(1000, SIZE)]), (CONTENT, [])):
        left.write_bytes(there)
        store.reads.clear()
        assert await read(caches[0], blob) == CONTENT
        assert store.reads == reads
        (tmp_path / "cache" / f"sha256-{blob.digest.hex}").unlink()


async def test_what_is_counted(new_cache: NewCache, store: MemoryStreams, blob: StoredBlob) -> None:
    cache = new_cache()
    for _ in range(3):
        await read(cache, blob)
    counts = cache._counts
    assert counts == type(counts)(hits=2, misses=1, filled=SIZE, holds=SIZE)  # type: ignore[call-arg]
