"""Moving blobs between files and a bucket while they are pushed and pulled.

The steps for each blob: an intent where the store needs one, the bytes, verified as they are read, and then the row,
which is changed only if it still names what was copied. Whoever deletes or pushes the blob meanwhile wins. The bytes
that nobody needs then go as all such bytes do: files with the collector's next round, objects as leftovers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from dataclasses import replace

from registry.domain.changes import MoveBlob
from registry.domain.move import StorageMove
from registry.errors import BlobDamaged, BlobUnknown, DigestInvalid, SizeInvalid, Unavailable
from registry.ports import BlobStore, Changes, Leases, MoveReader, Placer, StoredBlob, planned, reading

_AT_ONCE = 4
# Of the blob itself. What a store or a disk refuses says nothing of it.
_DAMAGED = (BlobUnknown, BlobDamaged, DigestInvalid, SizeInvalid)


class Mover:
    """Moves every blob to where `placer` puts it. `on_progress` is called after each page of blobs.

    `keep_every`: seconds, fewer than those for which a leftover stays: a large blob takes longer than that.
    """

    def __init__(
        self,
        reader: MoveReader,
        changes: Changes,
        blobs: BlobStore,
        placer: Placer,
        leases: Leases,
        keep_every: float,
        on_progress: Callable[[StorageMove], object],
    ) -> None:
        self._reader = reader
        self._changes = changes
        self._blobs = blobs
        self._placer = placer
        self._leases = leases
        self._keep_every = keep_every
        self._on_progress = on_progress
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self, move: StorageMove) -> StorageMove:
        """Rounds until one finds nothing left but blobs that cannot be moved; these are the problems.

        Raises Unavailable, StorageFull, StorageFailure; what was moved by then stays so.
        """
        left = await self._reader.misplaced_count(move.into_bucket)
        move = replace(move, expected=move.blobs + left, problems={})
        while True:
            before, problems, after = move.blobs, dict[str, str](), ""
            while page := await self._reader.misplaced(move.into_bucket, after):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._moved(blob, problems)) for blob in page]
                sizes = [size for task in tasks if (size := task.result()) is not None]
                blobs = move.blobs + len(sizes)
                move = replace(move, blobs=blobs, size=move.size + sum(sizes), expected=max(move.expected, blobs))
                self._on_progress(move)
                after = str(page[-1].digest)
            if move.blobs == before:
                return replace(move, problems=problems)

    async def _moved(self, blob: StoredBlob, problems: dict[str, str]) -> int | None:
        """How many bytes were moved; None where the blob is somewhere else by now, or stays."""
        async with self._slots:
            try:
                return await self._move(blob)
            except _DAMAGED as error:
                if await self._reader.stored(str(blob.digest)) == blob:
                    problems[str(blob.digest)] = error.message
                return None

    async def _move(self, blob: StoredBlob) -> int | None:
        target = replace(blob, location=self._placer.new_location(uuid.uuid4().hex))
        with closing(await self._blobs.open(blob)) as opened:
            async with self._leases.hold(blob.digest):
                async with self._plan(target.location), reading(opened.read(0, blob.size)) as chunks:
                    await self._placer.place(target, chunks)
                moved = await self._changes.submit(MoveBlob(str(blob.digest), blob.location, target.location))
        if moved.changed:
            return blob.size
        if target.location and await self._reader.stored(str(blob.digest)) == blob:
            said = "an object was collected while it was made: collect.leftovers is too short for so large a blob"
            raise Unavailable(said, {"digest": str(blob.digest)})
        return None

    def _plan(self, location: str) -> AbstractAsyncContextManager[None]:
        """For an object, which has to be known before it is made; files need none."""
        return planned(self._changes, location, self._keep_every) if location else nullcontext()
