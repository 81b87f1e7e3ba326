"""What a node has of a log that nobody follows any more, since another node took its master's place: kept as a file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from registry.domain.events import JournalEvent
from registry.ports.replication import FeedReader, ReplicaReader
from replication import wire

_EVENTS_AT_ONCE = 500


def name_of(epoch: int, after: int) -> str:
    """Of the file that has the events of an epoch beyond a serial."""
    return f"epoch-{epoch}-after-{after}.ndjson"


async def events_after(reader: FeedReader | ReplicaReader, after: int) -> AsyncIterator[JournalEvent]:
    """All events of a log beyond a serial."""
    while page := await reader.log_events(after, _EVENTS_AT_ONCE):
        for event in page:
            yield event
        after = page[-1].serial


async def keep(events: AsyncIterator[JournalEvent], to: Path) -> int:
    """Write events as lines of the protocol, durably; how many they were. No file is made where there are none.

    Raises OSError, and what reading them raises.
    """
    count, unfinished = 0, to.with_name(f".{to.name}.new")
    to.parent.mkdir(parents=True, exist_ok=True)
    with unfinished.open("wb") as file:
        async for event in events:
            file.write(wire.encode(wire.Event.of(event)))
            count += 1
        file.flush()
        os.fsync(file.fileno())
    if not count:
        unfinished.unlink()
        return 0
    unfinished.replace(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return count
