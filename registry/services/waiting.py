"""Waiting until slaves show an image."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from registry.domain import events
from registry.domain.clock import Clock
from registry.errors import ManifestUnknown, Unavailable
from registry.ports.replication import FeedReader, LogEntry
from registry.ports.slaves import SlaveReport, Slaves

LONGEST = 60.0
"""Seconds that one call waits."""
LIVE_WITHIN = 30.0
"""Seconds: a slave that was not heard for longer is not there, and nobody waits for it."""
_LOOK_EVERY = 0.05  # seconds; the reports are in memory
_MOST_WAITING = 200
_LOOK_BACK = 10_000
"""Events of the log, which has no index of repositories: a look at all of it would hold up everybody."""
_MOST_EVENTS = 200


@dataclass(frozen=True, slots=True)
class Shown:
    """Who shows what happened up to the event `serial`; `complete`: whether those are as many as were asked for."""

    serial: int
    complete: bool
    shows: tuple[SlaveReport, ...]
    lacks: tuple[SlaveReport, ...]


def judge(reports: Sequence[SlaveReport], repository: str, serial: int, wanted: int | None, now: float) -> Shown:
    """`wanted`: how many slaves, None for all that are there, of which there has to be one."""
    live = [report for report in reports if now - report.heard <= LIVE_WITHIN]
    shows = tuple(report for report in live if report.shows(repository, serial))
    lacks = tuple(report for report in live if report not in shows)
    complete = len(shows) >= wanted if wanted is not None else bool(shows) and not lacks
    return Shown(serial, complete, shows, lacks)


def serial_of(newest: Sequence[LogEntry], reference: str, after: int) -> int:
    """The last event of a tag or a digest; where it is further back than `newest`, some later one of its repository.

    `newest`: of the events after the serial `after`, which stands for a repository that has none of them.
    """
    for entry in newest:
        if _concerns(entry, reference):
            return entry.serial
    return newest[-1].serial if newest else after


def _concerns(entry: LogEntry, reference: str) -> bool:
    payload = json.loads(entry.payload)
    if payload.get("digest") == reference and entry.kind in (events.MANIFEST_PUT, events.MANIFEST_DELETE):
        return True
    return payload.get("tag") == reference or reference in payload.get("tags", ())


class SlaveWait:
    """One for a process, as it bounds how many wait."""

    def __init__(self, slaves: Slaves, reader: FeedReader, clock: Clock) -> None:
        self._slaves = slaves
        self._reader = reader
        self._clock = clock
        self._waiting = 0

    async def shown(self, repository: str, reference: str, wanted: int | None, seconds: float) -> Shown:
        """As it is once enough slaves show what a tag or a digest is now, or after so many seconds.

        Raises ManifestUnknown, and Unavailable where too many wait already.
        """
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("too many wait for slaves just now")
        if not await self._reader.holds(repository, reference):
            raise ManifestUnknown("no such tag or manifest in this repository", {"reference": reference})
        end = (await self._reader.log_position()).serial
        after = max(0, end - _LOOK_BACK)
        serial = serial_of(await self._reader.newest_of(repository, after, _MOST_EVENTS), reference, after)
        loop = asyncio.get_running_loop()
        until = loop.time() + min(seconds, LONGEST)
        self._waiting += 1
        try:
            while True:
                found = judge(await self._slaves.slaves(), repository, serial, wanted, self._clock())
                if found.complete or loop.time() >= until:
                    return found
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            self._waiting -= 1
