"""A slave under the orders of its administrator: it pauses, compares itself with the registry above, begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from registry.domain.changes import NoteReport
from registry.domain.clock import Clock
from registry.domain.replica import RESYNC, Orders, Report, Upstream
from registry.errors import RegistryError
from registry.ports import Changes
from registry.ports.replication import ReplicaReader
from replication.client import UpstreamClient, UpstreamError
from replication.replica import Replica
from replication.snapshot import SnapshotTaker
from replication.verify import Verified, Verifier

log = structlog.get_logger(__name__)

_LOOK_EVERY = 0.5  # seconds


class Directed:
    """Runs the replica, but while it is paused. `verify_every`: seconds between two looks by itself, 0 for none;
    `drifted`: told how many items were found to differ."""

    def __init__(
        self,
        replica: Replica,
        verifier: Verifier,
        client: UpstreamClient,
        reader: ReplicaReader,
        changes: Changes,
        clock: Clock,
        verify_every: float,
        drifted: Callable[[int], None],
    ) -> None:
        self._replica = replica
        self._verifier = verifier
        self._reader = reader
        self._changes = changes
        self._clock = clock
        self._taker = SnapshotTaker(client, reader, changes)
        self._verify_every = verify_every
        self._drifted = drifted

    async def run(self) -> None:
        """Until it is cancelled, or the replica fails."""
        while True:
            await self._while_paused()
            following = asyncio.create_task(self._replica.run())
            try:
                await self._obey(following)
            finally:
                following.cancel()
                await asyncio.wait([following])
            if not following.cancelled() and (error := following.exception()) is not None:
                raise error

    async def _while_paused(self) -> None:
        while (await self._reader.orders()).paused:
            await self._replica.rest()
            await asyncio.sleep(_LOOK_EVERY)

    async def _obey(self, following: asyncio.Task[None]) -> None:
        """Returns where the replica has to end, or has: to pause, or to begin anew."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._verify_every
        while not following.done():
            orders, report = await self._reader.orders(), await self._reader.report()
            if orders.paused:
                return
            if orders.number > report.number:
                if orders.what == RESYNC and not orders.repository:
                    await self._begin_anew(orders)
                    return
                await self._verify(orders)
            elif self._verify_every and loop.time() >= due:
                due = loop.time() + self._verify_every
                if not (await self._reader.upstream() or Upstream()).is_limited:
                    await self._verify(Orders(number=report.number))
            await asyncio.wait([following], timeout=_LOOK_EVERY)

    async def _begin_anew(self, orders: Orders) -> None:
        log.info("a snapshot is taken, as it was ordered")
        await self._taker.begin()
        await self._changes.submit(NoteReport(Report(orders.number, self._clock(), drift=self._replica.drift)))

    async def _verify(self, orders: Orders) -> None:
        error, found = "", Verified()
        try:
            found = await self._verifier.run(orders.repository)
        except (UpstreamError, RegistryError) as failed:
            error = str(failed)
            log.warning("what is above could not be compared with what is here", error=error)
        self._replica.drift += found.drift
        self._drifted(found.drift)
        told = (found.repositories, found.unclear, tuple(found.differing), self._replica.drift, error)
        await self._changes.submit(NoteReport(Report(orders.number, self._clock(), *told)))
