"""Pushing blobs: sessions, chunks, and the step from staged bytes to a blob.

A blob is acknowledged in this order: every byte hashed and compared, the file durable and in its
place, then the row that makes it visible durable too. While that goes on the digest is leased, so
that the collector cannot take the file between the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from registry.domain.changes import MountBlob
from registry.domain.digest import Digest
from registry.domain.upload import ChunkRange, UploadState, check_chunk, check_digest, check_opener, check_received
from registry.errors import BlobUnknown, BlobUploadUnknown, ClientGone, StorageFailure, StorageFull
from registry.ports import BlobStore, Changes, Leases, MetadataReader, StoredBlob, UploadStore, UploadWriter

Body = AsyncIterator[Sequence[bytes]]
"""The body of a request, in batches of chunks. Raises ClientGone or RequestTimeout when it breaks off."""


class PushService:
    """OCI distribution specification, "Pushing blobs". `visitor`: the account that asks, "" where there are none."""

    def __init__(
        self, uploads: UploadStore, blobs: BlobStore, reader: MetadataReader, changes: Changes, leases: Leases
    ) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._reader = reader
        self._changes = changes
        self._leases = leases

    async def begin(self, repository: str, algorithm: str, visitor: str = "") -> UploadState:
        return await self._uploads.begin(repository, algorithm, visitor)

    async def mount(self, repository: str, digest: Digest, source: str | None) -> bool:
        """Make a blob of another repository visible here; False where there is none, or its file is damaged.

        Where `source` is named nothing else is looked at, so that no time tells what other repositories hold.
        """
        if source is not None and await self._reader.blob(source, str(digest)) is None:
            return False
        stored = await self._reader.stored(str(digest))
        if stored is None or not await self._blobs.intact(stored):
            return False
        try:
            await self._changes.submit(MountBlob(repository, source, str(digest)))
        except BlobUnknown:
            return False
        return True

    async def status(self, repository: str, upload_id: str, visitor: str = "") -> UploadState:
        state = await self._uploads.state(repository, upload_id)
        check_opener(state, visitor)
        return state

    async def append(
        self,
        repository: str,
        upload_id: str,
        body: Body,
        content_range: ChunkRange | None,
        length: int | None,
        visitor: str = "",
    ) -> UploadState:
        """Add a chunk. What came before the client went away is kept, so that it can go on from there."""
        async with self._writing(repository, upload_id, visitor) as upload:
            check_chunk(upload.state, content_range, length)
            received = await _receive(upload, body)
            check_received(content_range, received)
            return await upload.checkpoint()

    async def finish(
        self,
        repository: str,
        upload_id: str,
        digest: Digest,
        body: Body,
        content_range: ChunkRange | None,
        length: int | None,
        visitor: str = "",
    ) -> None:
        """Add the last chunk (it may be empty) and make the whole the blob `digest`."""
        try:
            await self._finish(repository, upload_id, digest, body, content_range, length, visitor)
        except BlobUploadUnknown:
            # Perhaps a client asks again whose answer was lost: its blob is there, and that is what it asks.
            link = await self._reader.blob(repository, str(digest))
            if link is None or not await self._blobs.intact(StoredBlob(digest, link.size, link.location)):
                raise

    async def _finish(
        self,
        repository: str,
        upload_id: str,
        digest: Digest,
        body: Body,
        content_range: ChunkRange | None,
        length: int | None,
        visitor: str = "",
    ) -> None:
        async with self._writing(repository, upload_id, visitor) as upload:
            check_chunk(upload.state, content_range, length)
            upload.rehash_with(digest.algorithm)
            received = await _receive(upload, body)
            check_received(content_range, received)
            check_digest(digest, await upload.digest())
            async with self._leases.hold(digest):
                await self._changes.submit(await upload.publish(digest))
            await upload.complete()

    async def push_at_once(self, repository: str, digest: Digest, body: Body) -> None:
        """A whole blob in one request; a session that fails is not left behind."""
        state = await self._uploads.begin(repository, digest.algorithm)
        try:
            await self.finish(repository, state.id, digest, body, None, None)
        except BaseException:
            with suppress(BlobUploadUnknown):
                await self.cancel(repository, state.id)
            raise

    async def cancel(self, repository: str, upload_id: str, visitor: str = "") -> None:
        async with self._uploads.open(repository, upload_id) as upload:
            check_opener(upload.state, visitor)
            await upload.discard()

    @asynccontextmanager
    async def _writing(self, repository: str, upload_id: str, visitor: str) -> AsyncIterator[UploadWriter]:
        async with self._uploads.open(repository, upload_id) as upload:
            check_opener(upload.state, visitor)
            try:
                yield upload
            except ClientGone:
                await upload.checkpoint()
                raise
            except (StorageFull, StorageFailure):
                # After a failed write or sync nobody knows what is on the disk, and asking again may hide it.
                await upload.discard()
                raise


async def _receive(upload: UploadWriter, body: Body) -> int:
    """Write a body while the next batch of it arrives; returns its length in bytes."""
    received = 0
    writing: asyncio.Task[None] | None = None
    try:
        async for chunks in body:
            if writing is not None:
                await writing
            received += sum(map(len, chunks))
            writing = asyncio.create_task(upload.write(chunks))
    finally:
        if writing is not None:
            await writing
    return received
