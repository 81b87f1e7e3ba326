"""The handlers of a master: the log as a stream, snapshots, blobs, and what slaves report. docs/replication.md."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence

import msgspec
from aiohttp import web

from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.errors import RequestInvalid, StorageFailure
from registry.ports.replication import FeedReader, LogPosition
from registry.ports.slaves import SlaveReport, Slaves
from replication import position, wire
from replication.routes import REPLICATE, Asked, FeedRoute, Handler
from replication.states import States
from replication.streams import LineStream, Streams
from replication.tail import EVENTS_AT_ONCE, EncodedEvent, Tail, encoded

_REPOSITORIES_AT_ONCE = 100
_TAGS_AT_ONCE = 1000
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
        clock: Clock,
        registry: str,
        heartbeat: float = wire.HEARTBEAT,
        states: States | None = None,
    ) -> None:
        self._reader = reader
        self._tail = tail
        self._streams = streams
        self._slaves = slaves
        self._clock = clock
        self._registry = registry
        self._heartbeat = heartbeat
        self._states = states

    def routes(self) -> list[FeedRoute]:
        found = [
            FeedRoute("log", "GET", f"{wire.BASE}/log", REPLICATE, self.log),
            FeedRoute("snapshot", "GET", f"{wire.BASE}/snapshot", REPLICATE, self.snapshot),
            FeedRoute("repository", "GET", f"{wire.BASE}/repository", REPLICATE, self.repository),
            FeedRoute("blob", "GET", f"{wire.BASE}/blobs/{{digest}}", REPLICATE, self.blob),
            FeedRoute("ack", "POST", f"{wire.BASE}/ack", REPLICATE, self.ack),
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
                    await self._repository(stream, after)
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
            await self._repository(stream, name)
            await stream.add(wire.encode(wire.SnapshotEnd(_on_the_wire(await self._reader.log_position()))))
        return stream.response

    async def _repository(self, stream: LineStream, name: str) -> None:
        async for manifest in self._reader.snapshot_manifests(name):
            content = base64.b64encode(manifest.content).decode()
            await stream.add(wire.encode(wire.Manifest(name, manifest.digest, manifest.media_type, content)))
        last, more = "", True
        while more:
            tags = await self._reader.snapshot_tags(name, last, _TAGS_AT_ONCE)
            await stream.add(wire.encode_all([wire.Tag(name, tag, digest) for tag, digest in tags]))
            last, more = tags[-1][0] if tags else "", len(tags) == _TAGS_AT_ONCE
        await stream.add(wire.encode(wire.RepositoryEnd(name)))
        await asyncio.sleep(0)  # where there are many of little content

    async def blob(self, asked: Asked) -> web.StreamResponse:
        return await asked.send_blob(Digest.parse(asked.parameter("digest")))

    async def ack(self, asked: Asked) -> web.StreamResponse:
        """What a slave says of itself. Raises RequestInvalid."""
        try:
            ack = msgspec.json.decode(await asked.body(), type=wire.Ack)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestInvalid(f"this is no report of a slave: {error}"[:300]) from error
        numbers = ack.stored, ack.visible, ack.waiting, ack.missing
        behind = None if ack.behind is None else tuple(ack.behind[: wire.MOST_BEHIND])
        others = ack.behind_total, ack.drift, ack.fetched, *(serial for _, serial in behind or ())
        if not all(0 <= number <= _LARGEST for number in (*numbers, *others)):
            raise RequestInvalid("a number of the report cannot be")
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

    def _state_of(self, states: States) -> Handler:
        async def state(asked: Asked) -> web.StreamResponse:
            """What some repositories hold, as sums."""
            page = await states.page(asked.request.query.get("after", ""))
            return web.Response(body=msgspec.json.encode(page), content_type="application/json")

        return state

    def _hello(self, head: LogPosition) -> bytes:
        return wire.encode(wire.Hello(wire.VERSION, self._registry, _on_the_wire(head)))


def _on_the_wire(at: LogPosition) -> wire.Position:
    return wire.Position(at.serial, at.epoch, at.chain.hex())
