"""Sessions in the database: who holds one, on a real S3 server."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry.domain.changes import Change, Outcome
from registry.domain.clock import system_clock
from registry.storage.files import DataDirectory
from registry.storage.memory.metadata import MemoryMetadata
from registry.storage.s3.client import S3Client
from registry.storage.uploads_store import StoreUploads
from tests.harness.s3 import S3Server

REPO = "library/one"


class SlowChanges:
    """Changes that take a moment, as commits do; they keep their order."""

    def __init__(self, metadata: MemoryMetadata) -> None:
        self._metadata = metadata

    async def submit(self, change: Change) -> Outcome:
        await asyncio.sleep(0.02)
        return await self._metadata.submit(change)


async def test_a_renewal_does_not_hold_what_was_just_given_back(s3_server: S3Server, tmp_path: Path) -> None:
    metadata = MemoryMetadata(system_clock)
    directory = DataDirectory(tmp_path, reserve=0)
    directory.prepare()
    client = S3Client(s3_server.bucket(f"holding-{uuid.uuid4()}"))
    with ThreadPoolExecutor(2) as executor:
        uploads = StoreUploads(client, metadata, SlowChanges(metadata), directory, executor, system_clock)
        state = await uploads.begin(REPO, "sha256")
        async with uploads.open(REPO, state.id) as upload:
            await upload.write([b"some bytes"])
            saving = asyncio.create_task(upload.checkpoint())
            while not saving.done():
                await upload.keep()
                await asyncio.sleep(0.005)
        async with uploads.open(REPO, state.id) as upload:
            assert upload.state.offset == len(b"some bytes")
    await client.close()
