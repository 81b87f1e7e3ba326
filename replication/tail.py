"""The newest events of the log as lines, read and encoded once for all streams of a process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from registry.domain.events import JournalEvent
from registry.errors import StorageFailure
from registry.ports.replication import FeedReader
from replication import wire

EVENTS_AT_ONCE = 250
_KEPT_BYTES = 4 * 1024 * 1024
_UNKNOWN = -1

EncodedEvent = tuple[int, bytes]
"""The serial of an event, and its line."""


def encoded(events: Sequence[JournalEvent]) -> list[EncodedEvent]:
    return [(event.serial, wire.encode(wire.Event.of(event))) for event in events]


class Tail:
    """Looks for new events while anybody follows.

    `every`: seconds between two looks at the log. `commits`: a count that moves with each commit, where there is one
    that costs nothing; the log is then read only after it has moved.
    """

    def __init__(self, reader: FeedReader, every: float, commits: Callable[[], int] | None = None) -> None:
        self._reader = reader
        self._every = every
        self._commits = commits
        self._followers = 0
        self._looking: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._kept: deque[EncodedEvent] = deque()
        self._weight = 0
        self._start = self.end = _UNKNOWN
        self._news: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """While somebody asks for the newest events."""
        self._followers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._followers -= 1
            if self._followers == 0:
                self._looking.cancel()
                self._looking = None
                self._forget()

    def after(self, serial: int) -> list[EncodedEvent] | None:
        """The events after a serial; None where not all of them are kept here."""
        if self._start == _UNKNOWN or serial < self._start:
            return None
        # Serials have no gaps, and a follower needs the last few: those are near in a deque.
        return [self._kept[place] for place in range(serial - self._start, len(self._kept))]

    async def wait(self, serial: int, seconds: float) -> bool:
        """Whether the log has gone beyond a serial within that time. Raises what keeps it from being read."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.end <= serial:
            if self._news is None:
                self._news = loop.create_future()
            news = self._news
            await asyncio.wait([news], timeout=until - loop.time())
            if not news.done():
                return False
            news.result()
        return True

    async def _look(self) -> None:
        seen: int | None = None
        while True:
            now = self._commits() if self._commits is not None else None
            if now is None or now != seen:
                try:
                    await self._read_on()
                except Exception as error:  # for whoever waits: their streams end, and slaves come again
                    self._tell(error)
                else:
                    seen = now
            await asyncio.sleep(self._every)

    async def _read_on(self) -> None:
        position = await self._reader.log_position()
        if self.end == _UNKNOWN:
            self._start = self.end = position.serial
            self._tell()
        while self.end < position.serial:
            events = await self._reader.log_events(self.end, EVENTS_AT_ONCE)
            if not events or events[0].serial != self.end + 1:
                raise StorageFailure("the journal has a gap", {"after": self.end})
            self._keep(encoded(events))
            self._tell()

    def _keep(self, events: Sequence[EncodedEvent]) -> None:
        self._kept.extend(events)
        self._weight += sum(len(line) for _, line in events)
        self.end = events[-1][0]
        while self._weight > _KEPT_BYTES:
            self._start, line = self._kept.popleft()
            self._weight -= len(line)

    def _tell(self, failure: Exception | None = None) -> None:
        news, self._news = self._news, None
        if news is None:
            return
        if failure is None:
            news.set_result(None)
        else:
            news.set_exception(failure)
            news.exception()  # it counts as seen, though whoever waited may have gone
