"""Moving blobs while the collector works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from registry.domain.changes import LinkBlob
from registry.domain.move import MoveState, StorageMove
from registry.domain.upload import Leftover, object_key
from registry.ports import StoredBlob
from registry.services.leases import LocalLeases
from registry.services.leftovers import LeftoverCollector
from registry.services.move import Mover
from registry.storage.memory.metadata import MemoryMetadata
from registry.storage.memory.streams import MemoryStreams

DELAY = 0.4
CHUNKS = 12


class Bucket:
    """Placer that forgets what it was given; Remains that notes what it was told to remove."""

    def __init__(self) -> None:
        self.removed: list[Leftover] = []

    def new_location(self, name: str) -> str:
        return object_key(name)

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
    move = StorageMove("id", "shoal.toml", True, "node", "host", "data", time.time(), MoveState.MOVING)
    done = await mover.run(move)
    collecting.cancel()
    assert (done.blobs, done.problems) == (1, {})
    assert bucket.removed == []
    stored = await metadata.stored(str(blob.digest))
    assert stored is not None
    assert stored.location.startswith("blobs/")
    assert list(await metadata.leftovers(time.time() + 1)) == []
