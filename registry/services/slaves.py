"""How far the slaves of a node are behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.domain.clock import Clock
from registry.ports.replication import FeedReader
from registry.ports.slaves import SlaveReport, Slaves
from registry.services.waiting import SlaveWait


@dataclass(frozen=True, slots=True)
class SlaveStatus:
    """`lag_events`: how many events cannot be seen there yet; `lag_seconds`: how long ago the oldest of them was.
    `heard_ago`: seconds since the slave was heard last."""

    report: SlaveReport
    lag_events: int
    lag_seconds: float
    heard_ago: float

    @property
    def ready_in(self) -> float | None:
        """Seconds until it shows all that there is now, at its rates of late; None where that cannot be told."""
        report = self.report
        if not self.lag_events:
            return 0.0
        if report.missing:
            return report.missing / report.bytes_per_second if report.bytes_per_second >= 1.0 else None
        return self.lag_events / report.events_per_second if report.events_per_second >= 0.01 else None


class SlaveService:
    """What an administrator asks about slaves."""

    def __init__(self, slaves: Slaves, reader: FeedReader, clock: Clock) -> None:
        self._slaves = slaves
        self._reader = reader
        self._clock = clock
        self.waits = SlaveWait(slaves, reader, clock)

    async def statuses(self) -> Sequence[SlaveStatus]:
        reports = await self._slaves.slaves()
        head = (await self._reader.log_position()).serial if reports else 0
        return [await self._status(report, head) for report in reports]

    async def _status(self, report: SlaveReport, head: int) -> SlaveStatus:
        behind = max(0, head - report.visible)
        # Where that event is not kept any more, the slave was heard last before it came.
        oldest = await self._reader.log_event(report.visible + 1) if behind else None
        since = report.heard if oldest is None else oldest.time
        now = self._clock()
        return SlaveStatus(report, behind, max(0.0, now - since) if behind else 0.0, max(0.0, now - report.heard))
