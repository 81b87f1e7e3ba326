"""What slaves tell of themselves, and where a node keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SlaveReport:
    """How far a slave is, as it said last.

    `name`: of its token, or what it calls itself where none is needed; `address`: where it was heard from. `stored`:
    the last serial that it has; all events up to `visible` can be seen there; `waiting`: how many cannot yet, for want
    of `missing` bytes. `error`: what went wrong last, "" where nothing does. `since`, `heard`: when it was heard of
    first and last, in seconds since the epoch.
    """

    name: str
    address: str
    stored: int
    visible: int
    waiting: int
    missing: int
    state: str
    error: str
    since: float
    heard: float
    behind: tuple[tuple[str, int], ...] | None = None
    """Repositories that wait, each with the serial of its first event that waits, in the order of those serials; None
    where the slave did not say."""
    behind_total: int = 0
    """How many repositories wait; more than are in `behind` where they are many."""
    drift: int = 0
    """Items that were found to differ from what is above, since the slave's start."""
    fetched: int = 0
    """Bytes of blobs that came, since the slave's start."""
    events_per_second: float = 0.0
    bytes_per_second: float = 0.0
    """Over some seconds; whoever keeps the reports tells that."""

    def shows(self, repository: str, serial: int) -> bool:
        """Whether what happened to a repository up to that event can be seen there."""
        if serial <= self.visible:
            return True
        if self.behind is None or serial > self.stored:
            return False
        waits = dict(self.behind)
        if repository in waits:
            return serial < waits[repository]
        return self.behind_total <= len(waits) or serial < self.behind[-1][1]


class Slaves(Protocol):
    """The slaves that a node has heard of; each process of the node tells and asks the same."""

    async def report(self, report: SlaveReport) -> None:
        """In the place of what the slave of that name and address said before; of `since`, the first counts."""
        ...

    async def slaves(self) -> Sequence[SlaveReport]:
        """In the order of their names and addresses."""
        ...
