"""Moving blobs while the collector works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from registry.domain.changes import ForgetLeftovers, LinkBlob
from registry.domain.move import MoveState, StorageMove
from registry.domain.upload import Leftover, object_key
from registry.errors import (
    BlobDamaged,
    BlobUnknown,
    RegistryError,
    StorageFailure,
    StorageFull,
    StoreRefused,
    Unavailable,
)
from registry.ports import StoredBlob
from registry.services.leases import LocalLeases
from registry.services.leftovers import LeftoverCollector
from registry.services.move import Mover
from registry.storage.memory.metadata import MemoryMetadata
from registry.storage.memory.streams import MemoryStreams

DELAY = 0.4
CHUNKS = 12
MOVE = StorageMove("id", "shoal.toml", True, "node", "host", "data", time.time(), MoveState.MOVING)


class Bucket:
    """Placer that forgets what it was given; Remains that notes what it was told to remove."""

    def __init__(self) -> None:
        self.removed: list[Leftover] = []

    def new_location(self, name: str) -> str:
        return object_key(name)

    async def check(self) -> None:
        """It takes all."""

    async def has(self, _blob: StoredBlob) -> bool:
        return False

    async def place(self, _blob: StoredBlob, chunks: AsyncIterator[bytes]) -> None:
        async for _ in chunks:
            pass

    async def remove(self, leftover: Leftover) -> None:
        self.removed.append(leftover)


async def test_an_object_that_takes_long_to_make_is_not_left_over() -> None:
    """The collector takes what was planned for given up after some time; a large blob takes longer."""
    metadata, bucket, store = MemoryMetadata(time.time), Bucket(), MemoryStreams(chunk=1)

    async def slow(_position: int) -> None:
        await asyncio.sleep(2 * DELAY / CHUNKS)

    store.before = slow
    blob = store.add(b"x" * CHUNKS)
    await metadata.submit(LinkBlob("repo", str(blob.digest), blob.size))
    collector = LeftoverCollector(metadata, bucket, metadata, time.time, DELAY)

    async def collect() -> None:
        while True:
            await collector.collect()
            await asyncio.sleep(DELAY / 20)

    collecting = asyncio.create_task(collect())
    mover = Mover(metadata, metadata, store, bucket, LocalLeases(), DELAY / 8, lambda _move: None)
    done = await mover.run(MOVE)
    collecting.cancel()
    assert (done.blobs, done.problems) == (1, {})
    assert bucket.removed == []
    stored = await metadata.stored(str(blob.digest))
    assert stored is not None
    assert stored.location.startswith("blobs/")
    assert list(await metadata.leftovers(time.time() + 1)) == []


@pytest.mark.parametrize("error", [StorageFailure("a broken disk"), StoreRefused("no right"), StorageFull("full")])
async def test_a_target_that_fails_damages_no_blob(error: RegistryError) -> None:
    metadata, store = MemoryMetadata(time.time), MemoryStreams()
    blob = store.add(b"content")
    await metadata.submit(LinkBlob("repo", str(blob.digest), blob.size))

    class Failing(Bucket):
        async def place(self, _blob: StoredBlob, _chunks: AsyncIterator[bytes]) -> None:
            raise error

    mover = Mover(metadata, metadata, store, Failing(), LocalLeases(), 60.0, lambda _move: None)
    with pytest.raises(ExceptionGroup) as caught:
        await mover.run(MOVE)
    assert caught.value.exceptions == (error,)
    assert await metadata.stored(str(blob.digest)) == StoredBlob(blob.digest, blob.size)


@pytest.mark.parametrize("damage", [BlobUnknown("missing"), BlobDamaged("changed"), StorageFailure("refused")])
async def test_only_a_damaged_source_is_told_of_its_blob(damage: RegistryError) -> None:
    metadata, store = MemoryMetadata(time.time), MemoryStreams()

    async def fail(_position: int) -> None:
        raise damage

    store.before = fail
    blob = store.add(b"content")
    await metadata.submit(LinkBlob("repo", str(blob.digest), blob.size))
    running = Mover(metadata, metadata, store, Bucket(), LocalLeases(), 60.0, lambda _move: None).run(MOVE)
    if type(damage) is StorageFailure:
        with pytest.raises(ExceptionGroup):
            await running
    else:
        assert (await running).problems == {str(blob.digest): damage.message}


async def test_an_object_that_was_collected_while_it_was_made_is_told() -> None:
    """And not passed over: the move would end without it."""
    metadata, store = MemoryMetadata(time.time), MemoryStreams()
    blob = store.add(b"content")
    await metadata.submit(LinkBlob("repo", str(blob.digest), blob.size))

    class Collected(Bucket):
        async def place(self, blob: StoredBlob, chunks: AsyncIterator[bytes]) -> None:
            await super().place(blob, chunks)
            await metadata.submit(ForgetLeftovers(tuple(await metadata.leftovers(time.time() + 1))))

    mover = Mover(metadata, metadata, store, Collected(), LocalLeases(), 60.0, lambda _move: None)
    with pytest.raises(ExceptionGroup) as caught:
        await mover.run(MOVE)
    assert isinstance(caught.value.exceptions[0], Unavailable)
    assert await metadata.stored(str(blob.digest)) == StoredBlob(blob.digest, blob.size)
