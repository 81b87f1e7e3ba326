"""The handlers of a master: the log as a stream, snapshots, blobs, and what slaves report. docs/replication.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import msgspec
from aiohttp import web

from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.domain.succession import LONGEST_HANDOVER, Claim
from registry.errors import LogCutOff, RequestInvalid, StorageFailure
from registry.ports.replication import FeedReader, LogPosition
from registry.ports.slaves import SlaveReport, Slaves
from registry.ports.succession import Succession
from replication import position, repository_lines, wire
from replication.limited import LimitedFeed
from replication.routes import PROMOTE, REPLICATE, Asked, FeedRoute, Handler
from replication.states import States
from replication.streams import LineStream, Streams
from replication.tail import EVENTS_AT_ONCE, EncodedEvent, Tail, encoded

_REPOSITORIES_AT_ONCE = 100
_LONGEST_NAME = 64
_LONGEST_TEXT = 500
_LARGEST = 2**63 - 1


class Feed:
    """`registry`: how the node calls itself. `heartbeat`: seconds of silence after which a stream says so.

    `states`: None where no sums are served.
    """

    def __init__(
        self,
        reader: FeedReader,
        tail: Tail,
        streams: Streams,
        slaves: Slaves,
        succession: Succession,
        clock: Clock,
        registry: str,
        heartbeat: float = wire.HEARTBEAT,
        states: States | None = None,
    ) -> None:
        self._reader = reader
        self._tail = tail
        self._streams = streams
        self._slaves = slaves
        self._succession = succession
        self._clock = clock
        self._registry = registry
        self._heartbeat = heartbeat
        self._states = states
        self._limited = LimitedFeed(reader, tail, streams, states, clock, registry, heartbeat)

    def routes(self) -> list[FeedRoute]:
        """All of them; a slave of some repositories gets to LimitedFeed by each."""
        return [replace(route, handler=self._for_all(route)) for route in self._routes()]

    def _for_all(self, route: FeedRoute) -> Handler:
        async def handler(asked: Asked) -> web.StreamResponse:
            await self._reader.check_source()
            if (scope := asked.scope) is not None and route.name != "ack":
                return await self._limited.answer(route.name, asked, scope)
            if scope is None and asked.request.query.get("cursor"):
                raise LogCutOff("the cursor is of some repositories, and all may be copied now: take a snapshot")
            return await route.handler(asked)

        return handler

    def _routes(self) -> list[FeedRoute]:
        found = [
            FeedRoute("log", "GET", f"{wire.BASE}/log", REPLICATE, self.log),
            FeedRoute("snapshot", "GET", f"{wire.BASE}/snapshot", REPLICATE, self.snapshot),
            FeedRoute("repository", "GET", f"{wire.BASE}/repository", REPLICATE, self.repository),
            FeedRoute("blob", "GET", f"{wire.BASE}/blobs/{{digest}}", REPLICATE, self.blob),
            FeedRoute("ack", "POST", f"{wire.BASE}/ack", REPLICATE, self.ack),
            FeedRoute("epoch", "GET", f"{wire.BASE}/epoch", REPLICATE, self.epoch),
            FeedRoute("handover", "POST", f"{wire.BASE}/handover", PROMOTE, self.handover),
            FeedRoute("claim", "POST", f"{wire.BASE}/claim", PROMOTE, self.claim),
        ]
        if self._states is not None:
            found.append(FeedRoute("state", "GET", f"{wire.BASE}/state", REPLICATE, self._state_of(self._states)))
        return found

    async def log(self, asked: Asked) -> web.StreamResponse:
        """All events after a position, and then those that come. Raises LogForked, LogCutOff."""
        known = position.parse(asked.request.query)
        head = await position.check(self._reader, known)
        if asked.request.method == "HEAD":
            return web.Response(content_type=wire.NDJSON)
        async with self._streams.answering(asked) as stream, self._tail.followed():
            await stream.add(self._hello(head))
            await stream.flush()
            await self._follow(stream, known.serial)
        return stream.response

    async def _follow(self, stream: LineStream, after: int) -> None:
        while True:
            for serial, line in await self._events(after):
                await stream.add(line)
                after = serial
            await stream.flush()
            if not await self._tail.wait(after, self._heartbeat):
                await stream.add(wire.encode(wire.Heartbeat(max(self._tail.end, after), self._clock())))

    async def _events(self, after: int) -> Sequence[EncodedEvent]:
        kept = self._tail.after(after)
        if kept is not None:
            return kept
        found = encoded(await self._reader.log_events(after, EVENTS_AT_ONCE))
        if found and found[0][0] != after + 1:
            raise StorageFailure("the journal was cut off before a slave had read it", {"after": after})
        return found

    async def snapshot(self, asked: Asked) -> web.StreamResponse:
        """All that there is, by repository; with `after`, what comes after that repository."""
        after = asked.request.query.get("after", "")
        head = await self._reader.snapshot_position()
        if asked.request.method == "HEAD":
            return web.Response(content_type=wire.NDJSON)
        async with self._streams.answering(asked) as stream:
            await stream.add(self._hello(head))
            if not after:
                for kind, key, value in await self._reader.records():
                    await stream.add(wire.encode(wire.Record(kind, key, value)))
            while names := await self._reader.repositories(after, _REPOSITORIES_AT_ONCE):
                for after in names:
                    await repository_lines.tell(stream, self._reader, after)
            await stream.add(wire.encode(wire.SnapshotEnd(_on_the_wire(await self._reader.log_position()))))
        return stream.response

    async def repository(self, asked: Asked) -> web.StreamResponse:
        """One repository as a snapshot has it, which may be one that is not there. Raises RequestInvalid."""
        name = asked.request.query.get("name", "")
        if not name:
            raise RequestInvalid("name the repository with ?name=")
        head = await self._reader.snapshot_position()
        if asked.request.method == "HEAD":
            return web.Response(content_type=wire.NDJSON)
        async with self._streams.answering(asked) as stream:
            await stream.add(self._hello(head))
            await repository_lines.tell(stream, self._reader, name)
            await stream.add(wire.encode(wire.SnapshotEnd(_on_the_wire(await self._reader.log_position()))))
        return stream.response

    async def blob(self, asked: Asked) -> web.StreamResponse:
        return await asked.send_blob(Digest.parse(asked.parameter("digest")))

    async def ack(self, asked: Asked) -> web.StreamResponse:
        """What a slave says of itself. Raises RequestInvalid."""
        ack = await _read(asked, wire.Ack)
        numbers = ack.stored, ack.visible, ack.waiting, ack.missing
        behind = None if ack.behind is None else tuple(ack.behind[: wire.MOST_BEHIND])
        others = ack.behind_total, ack.drift, ack.fetched, *(serial for _, serial in behind or ())
        if not all(0 <= number <= _LARGEST for number in (*numbers, *others)):
            raise RequestInvalid("a number of the report cannot be")
        if (scope := asked.scope) is not None:
            behind = None  # their serials are the slave's own
            numbers = (*await self._limited.reported(ack.cursor, ack.stored, ack.visible, scope), *numbers[2:])
        now = self._clock()
        report = SlaveReport(
            asked.name or asked.request.query.get("name", "")[:_LONGEST_NAME],
            asked.address,
            *numbers,
            ack.state[:_LONGEST_NAME],
            ack.error[:_LONGEST_TEXT],
            now,
            now,
            behind,
            ack.behind_total,
            ack.drift,
            ack.fetched,
        )
        await self._slaves.report(report)
        return web.Response(status=204)

    async def epoch(self, asked: Asked) -> web.StreamResponse:
        """Where the log is, and who writes it."""
        head = await self._reader.log_position()
        identity, is_promotion = await position.epoch_of(self._reader, head)
        found = wire.Epoch(head.epoch, identity, head.serial, await self._reader.writes(), is_promotion)
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def handover(self, asked: Asked) -> web.StreamResponse:
        """Take nothing for a while; the end of the log after that. Raises RequestInvalid, ReadOnly."""
        seconds = (await _read(asked, wire.HandOver)).seconds
        if not 0 <= seconds <= LONGEST_HANDOVER:
            raise RequestInvalid(f"a handover takes {LONGEST_HANDOVER:.0f} seconds at the most")
        await self._succession.hand_over(seconds)
        found = msgspec.json.encode(_on_the_wire(await self._reader.log_position()))
        return web.Response(body=found, content_type="application/json")

    async def claim(self, asked: Asked) -> web.StreamResponse:
        """A slave has taken the place of this node. Raises RequestInvalid, SucceededAlready, ReadOnly."""
        claim = await _read(asked, Claim)
        are_short = len(claim.id) <= _LONGEST_NAME and len(claim.chain) <= _LONGEST_NAME
        if not (are_short and 0 < claim.number <= _LARGEST and 0 <= claim.after <= _LARGEST and _is_url(claim.url)):
            raise RequestInvalid("this is no claim of a node that took over")
        await self._succession.give_way(claim)
        return web.Response(status=204)

    def _state_of(self, states: States) -> Handler:
        async def state(asked: Asked) -> web.StreamResponse:
            """What some repositories hold, as sums."""
            page = await states.page(asked.request.query.get("after", ""))
            return web.Response(body=msgspec.json.encode(page), content_type="application/json")

        return state

    def _hello(self, head: LogPosition) -> bytes:
        return wire.encode(wire.Hello(wire.VERSION, self._registry, _on_the_wire(head)))


T = TypeVar("T")


async def _read(asked: Asked, kind: type[T]) -> T:
    """Raises RequestInvalid."""
    try:
        return msgspec.json.decode(await asked.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestInvalid(f"this cannot be read: {error}"[:300]) from error


def _is_url(text: str) -> bool:
    return len(text) <= _LONGEST_TEXT and (
        not text or (text.startswith(("http://", "https://")) and text.isprintable())
    )


def _on_the_wire(at: LogPosition) -> wire.Position:
    return wire.Position(at.serial, at.epoch, at.chain.hex())
