"""Taking everything over: what many repositories share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from registry.domain.digest import Digest
from registry.imports.ports import Body, Source, Taken, Target
from registry.imports.report import Report
from registry.imports.taker import Taker

DIGEST = Digest.of(b"content")


class NullSource:
    """Has no file or object of any blob."""

    async def original(self, _digest: Digest) -> None:
        return None


class SlowTarget:
    """Takes a blob in a moment, and counts how many come at once."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0

    async def has_blob(self, _repository: str, _digest: Digest) -> bool:
        return False

    async def put_blob(self, _repository: str, _digest: Digest, _original: object, _read: Callable[[], Body]) -> Taken:
        self.now += 1
        self.all += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return Taken(copied=7)


async def test_a_blob_of_many_repositories_is_taken_by_one_after_the_other() -> None:
    target = SlowTarget()
    taker = Taker(cast("Source", NullSource()), cast("Target", target), Report(), 10)

    async def take(number: int) -> None:
        await asyncio.sleep(number * 0.005)  # some come while others wait, and some when the first has just ended
        await taker._blob(f"repo-{number}", DIGEST)

    await asyncio.gather(*(take(number) for number in range(8)))
    assert (target.all, target.most) == (8, 1)
    assert not taker._locks, "no lock outlives its use"
