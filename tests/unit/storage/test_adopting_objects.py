"""Objects of another registry that are copied within the store while another node collects."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.domain.changes import ForgetLeftovers
from registry.domain.digest import Digest
from registry.domain.upload import Leftover
from registry.errors import Unavailable
from registry.ports import StoredObject
from registry.services.leftovers import LeftoverCollector
from registry.storage.adopt_objects import ObjectAdopter
from registry.storage.files import DataDirectory
from registry.storage.inspection import FileInspection, ObjectInspection
from registry.storage.memory.metadata import MemoryMetadata
from registry.storage.s3.client import S3Client
from registry.storage.s3.settings import StoreSettings
from tests.harness.scripted_store import Reply, ScriptedStore, scripted

DELAY = 0.4
CONTENT = b"of another registry"
DIGEST = Digest.of(CONTENT)
COPIED = Reply(pieces=(b"  ", 2 * DELAY, b"<CopyObjectResult/>"))
SIZE = Reply(headers={"Content-Length": str(len(CONTENT))})
BYTES = Reply(206, (CONTENT,), {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"})


class Removed(list[Leftover]):
    """Remains that notes what it was told to remove."""

    async def remove(self, leftover: Leftover) -> None:  # type: ignore[override]
        self.append(leftover)


async def adopted(store: ScriptedStore, metadata: MemoryMetadata, keep_every: float, folder: Path) -> int | None:
    client = S3Client(StoreSettings("bucket", store.url, access_key="key", secret_key="secret"))
    with ThreadPoolExecutor(1) as executor:
        stored = ObjectInspection(client, FileInspection(DataDirectory(folder, 0), executor))
        adopter = ObjectAdopter(client, store.url, stored, metadata, keep_every)
        try:
            return await adopter.adopt("repo", DIGEST, StoredObject(store.url, "old", "key"))
        finally:
            await client.close()


async def test_a_copy_that_takes_long_is_not_left_over(tmp_path: Path) -> None:
    metadata, removed = MemoryMetadata(time.time), Removed()
    collector = LeftoverCollector(metadata, removed, metadata, time.time, DELAY)

    async def collect() -> None:
        while True:
            await collector.collect()
            await asyncio.sleep(DELAY / 20)

    collecting = asyncio.create_task(collect())
    async with scripted(COPIED, SIZE, BYTES) as store:
        assert await adopted(store, metadata, DELAY / 8, tmp_path) == len(CONTENT)
    collecting.cancel()
    assert removed == []
    assert list(await metadata.leftovers(time.time() + 1)) == []
    assert (await metadata.stored(str(DIGEST))) is not None


async def test_a_copy_that_was_collected_is_no_blob(tmp_path: Path) -> None:
    metadata = MemoryMetadata(time.time)

    async def collect() -> None:
        await asyncio.sleep(DELAY)
        await metadata.submit(ForgetLeftovers(tuple(await metadata.leftovers(time.time() + 1))))

    collecting = asyncio.create_task(collect())
    async with scripted(COPIED, SIZE, BYTES) as store:
        with pytest.raises(Unavailable):
            await adopted(store, metadata, 60.0, tmp_path)
    await collecting
    assert await metadata.stored(str(DIGEST)) is None
