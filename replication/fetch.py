"""Blobs that have to come before something can be shown: which next, several at a time, and again after an error."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from registry.domain.digest import Digest
from registry.errors import RegistryError
from replication.client import UpstreamError, pause
from replication.state import Wanted
from replication.transfers import Transfers

log = structlog.get_logger(__name__)


@dataclass(order=True, slots=True)
class _Job:
    order: tuple[int, int]
    repository: str = field(compare=False)
    wanted: Wanted = field(compare=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.repository, self.wanted.digest


class Fetcher:
    """`at_once`: transfers at the same time. `arrived`: told of each repository that has got a blob."""

    def __init__(self, transfers: Transfers, at_once: int, arrived: Callable[[str], None]) -> None:
        self._transfers = transfers
        self._at_once = at_once
        self._arrived = arrived
        self._jobs: list[_Job] = []
        self._known: dict[tuple[str, str], int] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._more = asyncio.Condition()
        self._later: set[asyncio.Task[None]] = set()
        self.error = ""
        """What went wrong last, "" once something has come since."""

    @property
    def missing(self) -> int:
        """Bytes of all blobs that are wanted and not here."""
        return sum({digest: size for (_, digest), size in self._known.items()}.values())

    async def want(self, repository: str, wanted: Sequence[Wanted]) -> None:
        """The oldest change first, and of it the smallest blob: what is small can be shown soon."""
        async with self._more:
            for each in wanted:
                if (repository, each.digest) not in self._known:
                    self._known[repository, each.digest] = each.size
                    heapq.heappush(self._jobs, _Job((each.serial, each.size), repository, each))
            self._more.notify_all()

    async def run(self) -> None:
        """Until it is cancelled. It begins with nothing: what is lacking is wanted again."""
        self._jobs.clear()
        self._known.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            async with self._more:
                await self._more.wait_for(lambda: self._jobs)
                job = heapq.heappop(self._jobs)
            try:
                await self._transfers.bring(job.repository, Digest.parse(job.wanted.digest))
            except (UpstreamError, RegistryError) as error:
                self._failed(job, error)
                continue
            self.error = ""
            self._failures.pop(job.key, None)
            self._known.pop(job.key, None)
            self._arrived(job.repository)

    def _failed(self, job: _Job, error: UpstreamError | RegistryError) -> None:
        self._failures[job.key] += 1
        self.error = f"{job.wanted.digest[:19]}: {error}"
        log.warning(
            "a blob could not be fetched", digest=job.wanted.digest, error=str(error), tries=self._failures[job.key]
        )
        task = asyncio.create_task(self._again(job))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _again(self, job: _Job) -> None:
        """Look whether it is still wanted: what needs it may have been deleted above."""
        await pause(self._failures[job.key])
        self._known.pop(job.key, None)
        self._arrived(job.repository)
