"""Blobs that come into a store from elsewhere: moved from another kind of store, or taken over where they lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.domain.changes import KeepPlan, PlanObject
from registry.domain.digest import Digest
from registry.errors import RegistryError
from registry.ports.blobs import StoredBlob
from registry.ports.journal import Changes


class MoveReader(Protocol):
    """Reads for moving all blobs to another kind of store."""

    async def move(self) -> str | None:
        """The last move as StorageMove.to_text wrote it, running or ended; None where there was none."""
        ...

    async def misplaced(self, into_bucket: bool, after: str) -> Sequence[StoredBlob]:
        """Blobs that are not in the bucket, or not files, beyond the digest `after`; some at a time, in order."""
        ...

    async def misplaced_count(self, into_bucket: bool) -> int: ...

    async def stored(self, digest: str) -> StoredBlob | None:
        """As MetadataReader.stored."""
        ...


class Placer(Protocol):
    """Puts blobs from elsewhere into a store. Every method raises StorageFailure, StorageFull, Unavailable."""

    def new_location(self, name: str) -> str:
        """The location for a new blob; `name`: unique, for a store that does not name blobs by their digest."""
        ...

    async def check(self) -> None:
        """Put something small there, and remove it again."""
        ...

    async def has(self, blob: StoredBlob) -> bool:
        """Whether a blob of this size is at its location."""
        ...

    async def place(self, blob: StoredBlob, chunks: AsyncIterator[bytes]) -> None:
        """Put the bytes durably at the location; raises DigestInvalid, SizeInvalid where they are others."""
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a store; `endpoint` is "" for Amazon's."""

    endpoint: str
    bucket: str
    key: str


Original = Path | StoredObject
"""Where the bytes of a blob lie, for a target that can have them without reading them through."""


class Adopter(Protocol):
    """Makes a file or an object that exists already a blob, without copying it through this process."""

    async def adopt(self, repository: str, digest: Digest, original: Original) -> int | None:
        """Make a file or an object the blob `digest`; its size, or None where it has to be copied.

        Raises DigestInvalid where it has other bytes, OSError where it cannot be read, RegistryError.
        """
        ...


@asynccontextmanager
async def planned(changes: Changes, location: str, keep_every: float) -> AsyncIterator[None]:
    """Make it known that an object is being made: what is left of it goes if that is broken off, and not before.

    `keep_every`: seconds, fewer than those for which a leftover stays: a large blob takes longer than that.
    """
    await changes.submit(PlanObject(location))
    keeping = asyncio.create_task(_keep(changes, location, keep_every))
    try:
        yield
    finally:
        keeping.cancel()


async def _keep(changes: Changes, location: str, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        with suppress(RegistryError):  # the next one may do better
            await changes.submit(KeepPlan(location))
