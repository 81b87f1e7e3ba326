"""A slave, as its own administrator sees and directs it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.domain.changes import OrderSlave
from registry.domain.replica import Orders, Report, Upstream
from registry.errors import Denied
from registry.ports import Changes
from registry.ports.replication import ReplicaReader


@dataclass(frozen=True, slots=True)
class Progress:
    """Serials and numbers as a slave tells them to the registry above it, which is `master`."""

    master: str
    stored: int
    visible: int
    waiting: int
    takes_snapshot: bool
    orders: Orders
    report: Report


class OwnReplication:
    """`master`: "" where this node is no slave."""

    def __init__(self, master: str, reader: ReplicaReader, changes: Changes) -> None:
        self._master = master
        self._reader = reader
        self._changes = changes

    async def progress(self) -> Progress:
        upstream, waiting = await self._reader.upstream() or Upstream(), await self._reader.waiting()
        numbers = upstream.serial, waiting.visible(upstream), waiting.events, upstream.takes_snapshot
        return Progress(self._master, *numbers, await self._reader.orders(), await self._reader.report())

    async def pause(self, *, is_paused: bool) -> None:
        """Raises Denied where this is no slave, as `order` does."""
        await self._submit(OrderSlave(is_paused))

    async def order(self, what: str, repository: str) -> None:
        await self._submit(OrderSlave(None, what, repository))

    async def _submit(self, change: OrderSlave) -> None:
        if not self._master:
            raise Denied("this registry is no slave: it follows nobody")
        await self._changes.submit(change)
