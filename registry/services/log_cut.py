"""How long the log is: what no slave needs any more goes, but for the last events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from registry.domain.changes import CutLog
from registry.domain.clock import Clock
from registry.errors import Unavailable
from registry.ports import Changes
from registry.ports.replication import FeedReader
from registry.ports.slaves import Slaves

log = structlog.get_logger(__name__)

_AT_ONCE = 500
_MOST_A_ROUND = 100_000
_REST = 0.05  # seconds between two portions, in which others change something
_KNOWS_ALL_AFTER = 86400.0
"""Seconds after its start when a node has heard of every slave that lives: the time after which it forgets one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Events that stay: `least` in any case, and `most` even where a slave needs older ones."""

    least: int
    most: int


def first_kept(head: int, needed: Sequence[int] | None, kept: Kept) -> int:
    """The first serial that stays of a log that ends at `head`.

    `needed`: the last serial that each slave has, which has to stay with all after it; None where there may be slaves
    that nobody knows of.
    """
    by_cap, by_least = head - kept.most + 1, head - kept.least + 1
    if needed is None:
        return min(by_cap, by_least)
    return max(by_cap, min([by_least, *needed]))


class LogCutter:
    """`sees_all`: whether all slaves report to this node, as no other one shares its database."""

    def __init__(self, slaves: Slaves, changes: Changes, clock: Clock, *, sees_all: bool) -> None:
        self._slaves = slaves
        self._changes = changes
        self._clock = clock
        self._sees_all = sees_all
        self._since = clock()

    async def cut(self, kept: Kept, own_head: int, above: FeedReader | None) -> int:
        """One round; returns how many events went at the most. `own_head`: the end of the journal. `above`: on a slave,
        the log that slaves follow; its own journal is read by nobody but its caches."""
        if above is None:
            return await self._cut(first_kept(own_head, await self._needed(), kept), of_upstream=False)
        went = await self._cut(own_head - kept.least + 1, of_upstream=False)
        try:
            end, shown = await above.log_position(), await above.snapshot_position()
        except Unavailable:  # it takes a snapshot itself
            return went
        before = min(first_kept(end.serial, await self._needed(), kept), shown.serial)
        return went + await self._cut(before, of_upstream=True)

    async def _needed(self) -> Sequence[int] | None:
        if not self._sees_all or self._clock() - self._since < _KNOWS_ALL_AFTER:
            return None
        return [report.stored for report in await self._slaves.slaves()]

    async def _cut(self, before: int, *, of_upstream: bool) -> int:
        went = 0
        if before <= 1:
            return went
        while went < _MOST_A_ROUND and (await self._changes.submit(CutLog(before, _AT_ONCE, of_upstream))).changed:
            went += _AT_ONCE
            await asyncio.sleep(_REST)
        if went:
            log.info("the beginning of the log was cut off", kept_from=before, of_upstream=of_upstream)
        return went
