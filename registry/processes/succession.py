"""How a node takes the place of its master, gives way to another one, and tells those whom it concerns."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from registry.domain.changes import Promote, SetStanding
from registry.domain.clock import system_clock
from registry.domain.succession import Claim, Standing, give_way, told
from registry.errors import PromotionRefused, ReadOnly, RegistryError, RequestInvalid, SucceededAlready, Unavailable
from registry.ports import Changes
from registry.ports.succession import Promoted, Promotion
from registry.processes.slave import SlaveNode
from registry.storage.metadata.feed import SqlFeed
from replication import wire
from replication.client import ForkedError, RefusedError, SlaveError, UpstreamClient, UpstreamError

log = structlog.get_logger(__name__)

_HANDOVER = 90.0  # seconds
_CATCHES_UP_WITHIN = 60.0
_LOOK_EVERY = 0.05
_TELL_EVERY = 5.0
_TELL_AGAIN_AFTER_REFUSAL = 60.0
_MOST_NAMES = 20


class NodeSuccession:
    """Succession. `client`: for the way to the master. `slave`: what follows the master, None where nothing does.
    `use`: makes all processes of the node act on the standing that the database has."""

    def __init__(
        self,
        reader: SqlFeed,
        changes: Changes,
        client: UpstreamClient,
        url: str,
        use: Callable[[Standing], Awaitable[None]],
    ) -> None:
        self._reader = reader
        self._changes = changes
        self._client = client
        self._url = url
        self._use = use
        self._lock = asyncio.Lock()
        self._telling: list[asyncio.Task[None]] = []
        self.slave: SlaveNode | None = None

    def start(self, standing: Standing) -> None:
        self._telling = [asyncio.create_task(self._tell(standing, address)) for address in standing.former]

    async def stop(self) -> None:
        for task in self._telling:
            task.cancel()
        if self._telling:
            await asyncio.wait(self._telling)
        if self.slave is not None:
            await self.slave.close()
        await self._client.close()

    async def promote(self, asked: Promotion) -> Promoted:
        async with self._lock:
            if self.slave is None:
                raise RequestInvalid("this registry is no slave: it takes pushes already")
            slave = self.slave
            if slave.is_lazy and not asked.force:
                raise PromotionRefused(
                    "a lazy slave has not the blobs of what it shows: promote another, or give --force"
                )
            if not asked.force:
                await self._agree(slave, graceful=asked.graceful)
            waiting, repositories = await slave.waits()
            await slave.stop()
            try:
                await self._changes.submit(Promote(secrets.token_hex(16), asked.url or self._url, slave.addresses))
            except RegistryError:
                slave.start()
                raise
            await slave.close()
            self.slave = None
            standing = await self._reader.standing()
            await self._use(standing)
            self.start(standing)
            assert standing.claim is not None
            log.warning("this node is the master now", epoch=standing.claim.number, after=standing.claim.after)
            return Promoted(standing.claim, waiting, tuple(repositories[:_MOST_NAMES]))

    async def _agree(self, slave: SlaveNode, *, graceful: bool) -> None:
        """With the master, where it lives: at one of the addresses that the slave knows. Raises PromotionRefused."""
        found = {address: await self._epoch(address) for address in slave.addresses}
        for address, epoch in found.items():
            if epoch is not None and epoch.writes:
                if not graceful:
                    raise PromotionRefused(
                        f"{address} lives and is in epoch {epoch.number}: give --graceful for a switch that loses "
                        "nothing, or --force to have two masters until it hears of this one"
                    )
                self._client.url = address
                await self._take_over(slave)
                return
        if found[slave.configured] is not None:
            raise PromotionRefused(
                f"{slave.configured} is no master: promote the slave that copies the master itself, or give --force"
            )
        if graceful:
            raise PromotionRefused(f"the master cannot hand over, as it is away: {slave.configured}")

    async def _epoch(self, address: str) -> wire.Epoch | None:
        """None where nobody answers. Raises PromotionRefused."""
        try:
            return await self._client.epoch(address)
        except RefusedError as error:
            raise PromotionRefused(f"{address} lives, and does not let this slave in: {error}") from error
        except UpstreamError:
            return None

    async def _take_over(self, slave: SlaveNode) -> None:
        """The master takes nothing any more, and this slave has and shows all that there is."""
        try:
            end = await self._client.hand_over(_HANDOVER)
            await asyncio.wait_for(_caught_up(slave, end), _CATCHES_UP_WITHIN)
        except (UpstreamError, TimeoutError) as error:
            why = str(error) or f"this slave was not through with all that there is in {_CATCHES_UP_WITHIN:.0f} s"
            try:
                await self._client.hand_over(0)
            except UpstreamError as second:
                log.warning("the master takes nothing until its handover ends by itself", error=str(second))
            raise PromotionRefused(f"the master goes on: {why}") from error

    async def hand_over(self, seconds: float) -> None:
        async with self._lock:
            standing = await self._own_standing()
            if standing.is_former:
                refusal = standing.refusal(system_clock())
                assert refusal is not None
                raise refusal
            until = system_clock() + seconds if seconds else 0.0
            await self._set(standing, replace(standing, handing_over=until))

    async def give_way(self, claim: Claim) -> None:
        async with self._lock:
            standing = await self._own_standing()
            event, head = await self._reader.log_event(claim.after), await self._reader.log_position()
            after = give_way(standing, head.epoch, claim, event.chain.hex() if event else None)
            if after == standing:
                return
            await self._set(standing, after)
            log.warning("another node has taken the place of this one", url=claim.url, epoch=claim.number)
            await self._use(after)

    async def _own_standing(self) -> Standing:
        """Raises ReadOnly where this node is a slave, whose place nobody can take."""
        if self.slave is not None:
            raise ReadOnly("this registry is a slave: ask its master")
        return await self._reader.standing()

    async def _set(self, before: Standing, after: Standing) -> None:
        if not (await self._changes.submit(SetStanding(before, after))).changed:
            raise Unavailable("another node of this registry has just changed that: try again")

    async def _tell(self, standing: Standing, address: str) -> None:
        """Who may be the former master, until it knows: it may be away for days."""
        assert standing.claim is not None
        while True:
            try:
                await self._client.claim(address, standing.claim)
                log.info("the former master takes nothing any more", url=address)
                break
            except SlaveError:  # which finds the way by itself
                break
            except ForkedError as error:
                log.error("the former master does not give way: two nodes take pushes now", error=str(error))
                break
            except RefusedError as error:
                log.warning("the former master does not let this node end it (--may-promote)", error=str(error))
                await asyncio.sleep(_TELL_AGAIN_AFTER_REFUSAL)
            except UpstreamError as error:
                log.debug("the former master is away", url=address, error=str(error))
                await asyncio.sleep(_TELL_EVERY)
        async with self._lock:
            now = await self._reader.standing()
            await self._set(now, told(now, address))


async def _caught_up(slave: SlaveNode, end: wire.Position) -> None:
    while True:
        how = await slave.status()
        if how.stored >= end.serial and not how.waiting:
            return
        await asyncio.sleep(_LOOK_EVERY)


class NoSuccession:
    """Succession of a node that does not run."""

    async def promote(self, _asked: Promotion) -> Promoted:
        raise RequestInvalid("start the slave first: it takes the place of its master while it runs")

    async def hand_over(self, _seconds: float) -> None:
        raise RequestInvalid("no server runs here")

    async def give_way(self, _claim: Claim) -> None:
        raise SucceededAlready("no server runs here")
