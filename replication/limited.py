"""The handlers of a master for slaves of some repositories, which never learn of others. docs/replication.md.

What is not here such a slave is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
from aiohttp import web

from registry.domain import events
from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.errors import BlobUnknown, Denied, EndpointUnknown, LogCutOff, LogForked, RequestInvalid, StorageFailure
from registry.ports.replication import FeedReader
from replication import position, repository_lines, wire
from replication.cursor import Cursors, Place
from replication.routes import Asked
from replication.scope import Scope, SomeRecord, records_in
from replication.states import States
from replication.streams import LineStream, Streams
from replication.tail import EVENTS_AT_ONCE, Tail

_NAMES_AT_ONCE = 100


class LimitedFeed:
    """Parameters as of replication.feed.Feed."""

    def __init__(
        self,
        reader: FeedReader,
        tail: Tail,
        streams: Streams,
        states: States | None,
        clock: Clock,
        registry: str,
        heartbeat: float = wire.HEARTBEAT,
    ) -> None:
        self._reader = reader
        self._tail = tail
        self._streams = streams
        self._states = states
        self._clock = clock
        self._registry = registry
        self._heartbeat = heartbeat
        self._cursors: Cursors | None = None

    async def answer(self, name: str, asked: Asked, scope: Scope) -> web.StreamResponse:
        """What the route `name` answers to such a slave. Raises Denied for what it is not served."""
        match name:
            case "log":
                return await self.log(asked, scope)
            case "snapshot":
                return await self.snapshot(asked, scope)
            case "blob":
                return await self.blob(asked, scope)
            case "state":
                return await self.state(asked, scope)
        raise Denied("a slave of some repositories is not served this")

    async def log(self, asked: Asked, scope: Scope) -> web.StreamResponse:
        """The slave's own log after its cursor, and then what comes. Raises LogForked, LogCutOff."""
        cursors = await self._made_here()
        place = await self._place(cursors, asked, scope)
        if asked.request.method == "HEAD":
            return web.Response(content_type=wire.NDJSON)
        async with self._streams.answering(asked) as stream, self._tail.followed():
            await stream.add(self._hello(cursors, place, scope))
            await _Following(self._reader, self._tail, stream, cursors, scope, self._clock, self._heartbeat).run(place)
        return stream.response

    async def snapshot(self, asked: Asked, scope: Scope) -> web.StreamResponse:
        """As Feed.snapshot. What goes on after a repository comes with the cursor of the first part."""
        cursors = await self._made_here()
        after = asked.request.query.get("after", "")
        place = await self._place(cursors, asked, scope) if after else Place.at(await self._reader.snapshot_position())
        if asked.request.method == "HEAD":
            return web.Response(content_type=wire.NDJSON)
        async with self._streams.answering(asked) as stream:
            await stream.add(self._hello(cursors, place, scope))
            if not after:
                await tell_records(stream, records_in(scope, await self._reader.records()))
            async for name in self._names(scope, after):
                await repository_lines.tell(stream, self._reader, name)
            head = await self._reader.log_position()
            async for at in self._places(place, scope, head.serial):
                place = at
            await stream.add(wire.encode(wire.SnapshotEnd(own_position(place), cursors.seal(place, scope))))
        return stream.response

    async def blob(self, asked: Asked, scope: Scope) -> web.StreamResponse:
        """A blob of one of the repositories. Raises BlobUnknown."""
        digest, last = Digest.parse(asked.parameter("digest")), ""
        while names := await self._reader.repositories_with(str(digest), last, _NAMES_AT_ONCE):
            if any(scope.holds(name) for name in names):
                return await asked.send_blob(digest)
            last = names[-1]
        raise BlobUnknown("this node has no such blob", {"digest": str(digest)})

    async def state(self, asked: Asked, scope: Scope) -> web.StreamResponse:
        """The sums of some of the repositories, by serials of the slave's own log. Raises as `log`, RequestInvalid."""
        if self._states is None:
            raise EndpointUnknown("no sums are served here")
        if not asked.request.query.get("cursor"):
            raise RequestInvalid("a slave of some repositories asks for sums with the cursor that it was told last")
        place = await self._place(await self._made_here(), asked, scope)
        names: list[str] = []
        last = ""
        async for name in self._names(scope, asked.request.query.get("after", "")):
            if len(names) == _NAMES_AT_ONCE:
                last = names[-1]
                break
            names.append(name)
        found = [await self._states.of(name) for name in names]
        until, wanted = max((each.serial for each in found), default=0), {each.serial for each in found}
        own = {at.serial: at.own_serial async for at in self._places(place, scope, until) if at.serial in wanted}
        told = [
            wire.RepositoryState(each.repository, own[each.serial], each.sum)
            if each.serial in own  # else it is older than the cursor, as a slave that serves others may be
            else wire.RepositoryState(each.repository, place.own_serial, "")
            for each in found
        ]
        return web.Response(body=msgspec.json.encode(wire.State(told, last)), content_type="application/json")

    async def reported(self, cursor: str, stored: int, visible: int, scope: Scope) -> tuple[int, int]:
        """How far a slave is that says so in serials of its own, at least, in those of the master."""
        if not cursor:
            return 0, 0
        place = (await self._made_here()).open(cursor, scope)
        return place.serial, max(0, place.serial - max(0, stored - visible))

    async def _made_here(self) -> Cursors:
        if self._cursors is None:
            self._cursors = Cursors(await self._reader.cursor_secret())
        return self._cursors

    async def _place(self, cursors: Cursors, asked: Asked, scope: Scope) -> Place:
        """Where a slave is. Raises LogForked and LogCutOff, neither of which says where the log is."""
        query = asked.request.query
        cursor = query.get("cursor", "")
        if not cursor and query.get("after", "0") != "0":
            raise LogCutOff("a slave of some repositories shows the cursor that it was told last: take a snapshot")
        place = cursors.open(cursor, scope) if cursor else Place()
        try:
            await position.check(self._reader, position.Known(place.serial, place.epoch, place.chain))
        except LogForked:
            raise LogForked("this is not the log that was followed so far") from None
        except LogCutOff:
            raise LogCutOff("the log is not kept that far back: take a snapshot") from None
        return place

    async def _names(self, scope: Scope, after: str) -> AsyncIterator[str]:
        while names := await self._reader.repositories(after, _NAMES_AT_ONCE):
            for name in names:
                if scope.holds(name):
                    yield name
            after = names[-1]
            await asyncio.sleep(0)

    async def _places(self, place: Place, scope: Scope, until: int) -> AsyncIterator[Place]:
        """All places from one up to a serial of the master's log. Raises StorageFailure where events are gone."""
        yield place
        while place.serial < until:
            for event in await events_after(self._reader, place.serial, must_be=True):
                if event.serial <= until:
                    place, _ = place.after(event, scope)
                    yield place
            await asyncio.sleep(0)

    def _hello(self, cursors: Cursors, place: Place, scope: Scope) -> bytes:
        hello = wire.Hello(wire.VERSION, self._registry, own_position(place), cursors.seal(place, scope))
        return wire.encode(hello)


class _Following:
    """One stream of a slave's log."""

    def __init__(
        self,
        reader: FeedReader,
        tail: Tail,
        stream: LineStream,
        cursors: Cursors,
        scope: Scope,
        clock: Clock,
        heartbeat: float,
    ) -> None:
        self._reader = reader
        self._tail = tail
        self._stream = stream
        self._cursors = cursors
        self._scope = scope
        self._clock = clock
        self._heartbeat = heartbeat
        self._records: list[SomeRecord] | None = None

    async def run(self, place: Place) -> None:
        """Until the stream is ended. Heartbeats come however much happens that the slave is not told of."""
        loop = asyncio.get_running_loop()
        await self._tell_records()
        due = loop.time() + self._heartbeat
        while True:
            before, place = place, await self._tell_events(place)
            if place.own_serial != before.own_serial:
                due = loop.time() + self._heartbeat
            if loop.time() >= due:
                due = loop.time() + self._heartbeat
                beat = wire.Heartbeat(place.own_serial, self._clock(), self._cursors.seal(place, self._scope))
                await self._stream.add(wire.encode(beat))
            await self._stream.flush()
            if place.serial == before.serial:
                await self._tail.wait(place.serial, max(0.0, due - loop.time()))

    async def _tell_events(self, place: Place) -> Place:
        """The next events of the master's log that are of the slave's. Accounts come first: what was withdrawn there
        counts before what was pushed then can be seen."""
        found = await events_after(self._reader, place.serial)
        if any(event.kind.startswith(events.AUTH) for event in found):
            await self._tell_records()
        for event in found:
            place, told = place.after(event, self._scope)
            if told is not None:
                cursor = self._cursors.seal(place, self._scope)
                await self._stream.add(wire.encode(msgspec.structs.replace(wire.Event.of(told), cursor=cursor)))
        return place

    async def _tell_records(self) -> None:
        """All of them, where they are others than were told."""
        found = records_in(self._scope, await self._reader.records())
        if found != self._records:
            self._records = found
            await tell_records(self._stream, found)
            await self._stream.add(wire.encode(wire.RecordsEnd()))


async def tell_records(stream: LineStream, records: Sequence[SomeRecord]) -> None:
    for kind, key, value in records:
        await stream.add(wire.encode(wire.Record(kind, key, value)))


async def events_after(reader: FeedReader, serial: int, *, must_be: bool = False) -> Sequence[events.JournalEvent]:
    """Raises StorageFailure where the next event is gone, or with `must_be` where there is none."""
    found = await reader.log_events(serial, EVENTS_AT_ONCE)
    if (must_be and not found) or (found and found[0].serial != serial + 1):
        raise StorageFailure("the journal was cut off before a slave had read it")
    return found


def own_position(place: Place) -> wire.Position:
    return wire.Position(place.own_serial, place.epoch, place.own_chain.hex())
