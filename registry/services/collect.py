"""The collector: removes what nothing needs any more.

A blob goes when no manifest of a repository has needed it for the grace time and no upload runs in
that repository; its bytes go when no repository is left that has it. An upload goes some time after
its last byte.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from registry.domain.changes import CollectBlobs, ForgetGarbage
from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.ports import BlobStore, Changes, MetadataReader, Removals, UploadStore

_BLOBS_A_CHANGE = 500
_MOST_SPARED = 30_000


@dataclass(frozen=True, slots=True)
class Collected:
    """What one round removed."""

    uploads: int
    blobs: int


class Collector:
    """`expire_after` and `grace` are seconds: for uploads since their last byte, for blobs since their last need."""

    def __init__(
        self,
        reader: MetadataReader,
        changes: Changes,
        blobs: BlobStore,
        uploads: UploadStore,
        removals: Removals,
        clock: Clock,
        expire_after: float,
        grace: float,
    ) -> None:
        self._reader = reader
        self._changes = changes
        self._blobs = blobs
        self._uploads = uploads
        self._removals = removals
        self._clock = clock
        self.expire_after = expire_after
        self.grace = grace

    async def collect(self) -> Collected:
        """One round."""
        uploads = await self._expire_uploads()
        await self._unlink_blobs()
        return Collected(uploads, await self._remove_garbage())

    async def sweep(self) -> int:
        """Look through all bytes for what has no row: a power loss can leave such, and forget that it is there."""
        count = 0
        async for digests in self._blobs.everything():
            for digest in digests:
                if await self._reader.stored_size(str(digest)) is None and await self._remove_unless_linked(digest):
                    count += 1
            await asyncio.sleep(0)
        return count

    async def _expire_uploads(self) -> int:
        count = 0
        async for upload in self._uploads.abandoned(self._clock() - self.expire_after):
            count += 1
            if upload.published is not None:
                await self._remove_unless_linked(upload.published)
        return count

    async def _unlink_blobs(self) -> None:
        now = self._clock()
        spare = tuple(sorted(await self._uploads.active_repositories(now - self.expire_after)))
        if len(spare) > _MOST_SPARED:  # more than a statement takes; this many uploads do not last
            return
        while (await self._changes.submit(CollectBlobs(now - self.grace, spare, _BLOBS_A_CHANGE))).changed:
            pass

    async def _remove_garbage(self) -> int:
        count = 0
        while digests := await self._reader.garbage():
            settled = [text for text in digests if await self._remove_unless_linked(Digest.parse(text))]
            if settled:
                await self._changes.submit(ForgetGarbage(tuple(settled)))
                count += len(settled)
            if len(settled) < len(digests):  # the rest is leased: next round
                break
        return count

    async def _remove_unless_linked(self, digest: Digest) -> bool:
        """Remove the bytes of a blob that no repository has; False where somebody is completing it just now."""
        async with self._removals.removal(digest) as alone:
            if alone and await self._reader.stored_size(str(digest)) is None:
                await self._blobs.remove(digest)
            return alone
