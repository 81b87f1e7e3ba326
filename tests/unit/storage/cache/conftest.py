"""A cache over blobs that come as streams from memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.ports import StoredBlob
from registry.storage.cache.cached_blobs import CachedBlobs
from registry.storage.files import DataDirectory
from registry.storage.memory.streams import MemoryStreams
from tests.unit.storage.cache.caches import BOUND, CONTENT, Counts, NewCache


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def store() -> MemoryStreams:
    return MemoryStreams()


@pytest.fixture
def new_cache(store: MemoryStreams, tmp_path: Path, executor: ThreadPoolExecutor) -> NewCache:
    """Each is as the cache of another process on the same directory."""

    def make(bound: int = BOUND, reserve: int = 0) -> CachedBlobs:
        return CachedBlobs(store, DataDirectory(tmp_path, reserve), executor, bound, Counts())

    return make


@pytest.fixture
def cache(new_cache: NewCache) -> CachedBlobs:
    return new_cache()


@pytest.fixture
def blob(store: MemoryStreams) -> StoredBlob:
    return store.add(CONTENT)
