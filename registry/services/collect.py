"""The collector: removes what nothing needs any more.

A blob goes when no manifest of a repository has needed it for the grace time and no upload runs in
that repository; its bytes go when no repository is left that has it. An upload goes some time after
its last byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from registry.domain.changes import CollectBlobs, ForgetGarbage
from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.errors import RegistryError
from registry.ports import BlobStore, Changes, MetadataReader, Removals, UploadStore

log = structlog.get_logger(__name__)

_BLOBS_A_CHANGE = 500
_BLOBS_A_REMOVAL = 50
_BLOBS_A_BREATH = 100
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
            for number, digest in enumerate(digests):
                if number % _BLOBS_A_BREATH == 0:
                    await asyncio.sleep(0)
                if not await self._in_its_file(str(digest)) and await self._remove_unless_linked(digest):
                    count += 1
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
        count, after = 0, ""
        while digests := await self._reader.garbage(after):
            after = digests[-1]
            for start in range(0, len(digests), _BLOBS_A_REMOVAL):
                count += await self._settle(digests[start : start + _BLOBS_A_REMOVAL])
        return count

    async def _settle(self, garbage: Sequence[str]) -> int:
        """Remove some garbage and forget it, while nobody can publish it anew; returns how many blobs went."""
        removed, settled = 0, []
        async with AsyncExitStack() as alone:
            for text in garbage:
                digest = Digest.parse(text)
                if not await alone.enter_async_context(self._removals.removal(digest)):
                    continue  # somebody is completing it just now: next round
                if not await self._in_its_file(text):
                    if not await self._remove(digest):
                        continue
                    removed += 1
                settled.append(text)
            if settled:
                await self._changes.submit(ForgetGarbage(tuple(settled)))
        return removed

    async def _remove_unless_linked(self, digest: Digest) -> bool:
        """Remove the bytes of a blob that no repository has and nobody is completing; whether it did."""
        async with self._removals.removal(digest) as alone:
            if not alone or await self._in_its_file(str(digest)):
                return False
            return await self._remove(digest)

    async def _in_its_file(self, digest: str) -> bool:
        """Whether the bytes that a repository has are those in the file of the digest."""
        stored = await self._reader.stored(digest)
        return stored is not None and stored.location == ""

    async def _remove(self, digest: Digest) -> bool:
        """Remove bytes; one blob that cannot be removed shall not keep the others."""
        removing = asyncio.ensure_future(self._blobs.remove(digest))
        try:
            await asyncio.shield(removing)
        except RegistryError as error:
            log.error("a blob cannot be removed", digest=str(digest), error=error.message, detail=error.detail)
            return False
        finally:
            if not removing.done():  # cancelled: who waits for this digest has to wait for the removal
                await asyncio.wait([removing])
        return True
