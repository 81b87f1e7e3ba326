"""The slaves that a node has heard of, in its memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from registry.domain.clock import Clock
from registry.ports.slaves import SlaveReport

MOST = 1000
FORGOTTEN_AFTER = 86400.0
"""Seconds."""
_RATES_OVER = 10.0
"""Seconds."""
_SHORTEST = 0.01
"""Seconds between two reports, whatever the clocks say."""


class HeardSlaves:
    """Slaves. Who has not been heard for a day is forgotten; of more than MOST, who was heard longest ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], SlaveReport] = {}

    async def report(self, report: SlaveReport) -> None:
        key = report.name, report.address
        before = self._known.pop(key, None)  # so that the last one to be heard is the last one here
        self._known[key] = report if before is None else _after(before, report)
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    async def slaves(self) -> Sequence[SlaveReport]:
        oldest = self._clock() - FORGOTTEN_AFTER
        self._known = {key: report for key, report in self._known.items() if report.heard >= oldest}
        return [self._known[key] for key in sorted(self._known)]


def _after(before: SlaveReport, report: SlaveReport) -> SlaveReport:
    """With its rates: the more time has gone by since the report before, the less the ones of then count."""
    seconds = max(report.heard - before.heard, _SHORTEST)
    weight = math.exp(-seconds / _RATES_OVER)
    events = _mean(before.events_per_second, max(0, report.visible - before.visible) / seconds, weight)
    fetched = _mean(before.bytes_per_second, max(0, report.fetched - before.fetched) / seconds, weight)
    return replace(report, since=before.since, events_per_second=events, bytes_per_second=fetched)


def _mean(before: float, now: float, weight: float) -> float:
    return before * weight + now * (1 - weight)


class NoSlaves:
    """Slaves of a node that has none, as it does not serve."""

    async def report(self, report: SlaveReport) -> None:
        pass

    async def slaves(self) -> Sequence[SlaveReport]:
        return []
