"""Leases: while a blob is being completed, the collector keeps its hands off its bytes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.domain.digest import Digest


class LocalLeases:
    """Leases of one node. Holders of a digest share it; a removal waits for none and lets none in."""

    def __init__(self) -> None:
        self._holders: Counter[Digest] = Counter()
        self._removals: dict[Digest, asyncio.Event] = {}

    @asynccontextmanager
    async def hold(self, digest: Digest) -> AsyncIterator[None]:
        await self.acquire(digest)
        try:
            yield
        finally:
            self.release(digest)

    async def acquire(self, digest: Digest) -> None:
        while (removal := self._removals.get(digest)) is not None:
            await removal.wait()
        self._holders[digest] += 1

    def release(self, digest: Digest) -> None:
        self._holders[digest] -= 1
        if self._holders[digest] <= 0:
            del self._holders[digest]

    @asynccontextmanager
    async def removal(self, digest: Digest) -> AsyncIterator[bool]:
        """Keep holders out; yields False where somebody holds the digest already."""
        if digest in self._holders or digest in self._removals:
            yield False
            return
        done = self._removals[digest] = asyncio.Event()
        try:
            yield True
        finally:
            del self._removals[digest]
            done.set()
