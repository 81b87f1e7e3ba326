"""What a node holds as sums, each of one moment although others go on changing the registry."""

from __future__ import annotations

import asyncio

from registry.ports.replication import FeedReader, StateReader
from replication import wire
from replication.sums import SetSum

_REPOSITORIES_AT_ONCE = 100
_ITEMS_AT_ONCE = 1000
_LONGEST = 1.0  # seconds
_TRIES = 3
_MOST_EVENTS = 1000


class States:
    """Sums of repositories, some at a time."""

    def __init__(self, reader: FeedReader, states: StateReader) -> None:
        self._reader = reader
        self._states = states

    async def page(self, after: str) -> wire.State:
        """Those after a repository, as many as are read in about a second."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LONGEST
        names = await self._reader.repositories(after, _REPOSITORIES_AT_ONCE)
        found: list[wire.RepositoryState] = []
        for name in names:
            found.append(await self.of(name))
            if loop.time() > until:
                break
        is_last = len(found) == len(names) < _REPOSITORIES_AT_ONCE
        return wire.State(found, "" if is_last or not found else found[-1].repository)

    async def of(self, name: str) -> wire.RepositoryState:
        """One that changes all the time has no sum."""
        for _ in range(_TRIES):
            before = await self._reader.snapshot_position()
            total = await self._sum(name)
            now = await self._reader.log_position()
            events = await self._reader.log_events(before.serial, _MOST_EVENTS) if now != before else ()
            if len(events) < _MOST_EVENTS and all(event.repository != name for event in events):
                return wire.RepositoryState(name, before.serial, total)
        return wire.RepositoryState(name, before.serial, "")

    async def _sum(self, name: str) -> str:
        total, last, more = SetSum(), "", True
        while more:
            manifests = await self._states.manifest_types(name, last, _ITEMS_AT_ONCE)
            for last, media_type in manifests:
                total.add_manifest(last, media_type)
            more = len(manifests) == _ITEMS_AT_ONCE
            await asyncio.sleep(0)  # reads of SQLite do not suspend
        last, more = "", True
        while more:
            tags = await self._reader.snapshot_tags(name, last, _ITEMS_AT_ONCE)
            for last, digest in tags:
                total.add_tag(last, digest)
            more = len(tags) == _ITEMS_AT_ONCE
            await asyncio.sleep(0)
        return total.hex
