"""A slave: follows the log above it, keeps every event at once, and shows what is complete."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import structlog

from registry.domain import events
from registry.domain.changes import KeepEvents, KeepSnapshot
from registry.domain.events import JournalEvent
from registry.domain.replica import Upstream
from registry.errors import ManifestBlobUnknown, RegistryError
from registry.ports import Changes, MetadataReader
from registry.ports.replication import ReplicaReader
from replication import fork, wire
from replication.client import CutOffError, ForkedError, RefusedError, UpstreamClient, UpstreamError, pause
from replication.fetch import Fetcher
from replication.snapshot import SnapshotTaker
from replication.state import Entry, UnreadableError, needed_blobs, plan, targets
from replication.upstreams import Upstreams

log = structlog.get_logger(__name__)

_MOST_EVENTS = 500
_MOST_WAITING = 1000
_PAGE = 1000
_REST = 1.0  # seconds
_TRIES_AT_ONE = 2  # a connection that ended is no reason to follow another address
_REST_AFTER_REFUSAL = 30.0  # seconds: people have to do something first
_ACK_EVERY = 1.0  # seconds, and at once when something was shown
_ACK_PAUSE = 0.1  # seconds between two
_RESTS = 2.0  # times as long as the last look took

FOLLOWING, SNAPSHOT, FORKED, REFUSED, AWAY = "following", "snapshot", "forked", "refused", "away"
PAUSED = "paused"


FetcherOf = Callable[[Callable[[str], None]], Fetcher]


@dataclass(frozen=True, slots=True)
class _Told:
    """One thing that the log says. A slave of some repositories is told of all `records` at once, and of a `cursor`."""

    event: JournalEvent | None = None
    records: tuple[tuple[str, str, str], ...] | None = None
    cursor: str = ""


class _Events:
    """What is told on its way from the connection to the database; a bound on it holds the connection up."""

    def __init__(self) -> None:
        self._waiting: deque[_Told] = deque()
        self._changed = asyncio.Condition()
        self._has_ended = False

    async def put(self, told: _Told) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < _MOST_WAITING)
            self._waiting.append(told)
            self._changed.notify_all()

    async def end(self) -> None:
        async with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    async def take(self, most: int) -> list[_Told]:
        """All that wait, `most` at the most; at the end of all nothing."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._has_ended)
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._changed.notify_all()
            return taken


class Replica:
    """One for a node, which is a slave. Nothing of it is lost when it is killed anywhere."""

    def __init__(
        self,
        client: UpstreamClient,
        reader: ReplicaReader,
        shown: MetadataReader,
        changes: Changes,
        fetcher_of: FetcherOf,
        others: Sequence[str] = (),
        forks: Path | None = None,
        *,
        is_lazy: bool = False,
    ) -> None:
        """`fetcher_of`: makes the Fetcher that tells of each repository which has got a blob. `others`: addresses that
        may have the log too. `forks`: the folder for what we have of a log that ended, as another node took over.
        `is_lazy`: show what the log says, whether or not its blobs are here."""
        self._client = client
        self._reader = reader
        self._shown = shown
        self._changes = changes
        self._upstreams = Upstreams(client, others)
        self._forks = forks
        self._is_lazy = is_lazy
        self._state, self._error = AWAY, ""
        self._unreadable: dict[str, str] = {}
        self._dirty: dict[str, None] = {}
        self._rests_until: dict[str, float] = {}
        self._something = asyncio.Event()
        self._has_news = asyncio.Event()
        self._fetcher: Fetcher = fetcher_of(self._arrived)
        self.drift = 0
        """Items that differed from what is above, since the start."""

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._show_what_is_complete())
            group.create_task(self._fetcher.run())
            group.create_task(self._acknowledge())

    async def rest(self) -> None:
        """Say that nothing is followed just now."""
        self._is(PAUSED)
        await self._tell()

    async def status(self) -> wire.Ack:
        """How far it is, as it tells the registry above."""
        upstream, waiting = await self._reader.upstream() or Upstream(), await self._reader.waiting()
        error = self._error or next(iter(self._unreadable.values()), "") or self._fetcher.error
        numbers = upstream.serial, waiting.visible(upstream), waiting.events, self._fetcher.missing
        told = wire.Ack(*numbers, self._state, error, upstream.cursor, drift=self.drift, fetched=self._client.fetched)
        if upstream.takes_snapshot:
            return told
        behind, total = await self._reader.waiting_repositories(wire.MOST_BEHIND)
        return msgspec.structs.replace(told, behind=list(behind), behind_total=total)

    def look_at(self, repository: str) -> None:
        self._dirty[repository] = None
        self._something.set()

    def _arrived(self, repository: str) -> None:
        """A blob of it came. What waits there is looked at as a whole each time, which takes long where much waits: it
        rests for twice as long in between, so that a thousand blobs are not a thousand looks."""
        rests_until = self._rests_until.get(repository, 0.0)
        asyncio.get_running_loop().call_at(rests_until, self.look_at, repository)

    async def _follow(self) -> None:
        tries = 0
        while True:
            try:
                await self._while_there_is_no_better()
                tries = 0
            except (RefusedError, ForkedError) as error:
                self._is(FORKED if isinstance(error, ForkedError) else REFUSED, error)
                await asyncio.sleep(_REST if self._upstreams.are_several else _REST_AFTER_REFUSAL)
                self._upstreams.turn()
            except (UpstreamError, RegistryError) as error:
                if self._state != AWAY:
                    tries = 0
                self._is(AWAY, error)
                await pause(tries)
                tries += 1
                if tries > _TRIES_AT_ONE:
                    self._upstreams.turn()

    def _is(self, state: str, error: Exception | None = None) -> None:
        if error is not None and (state, str(error)) != (self._state, self._error):
            log.warning("the registry above cannot be followed", url=self._client.url, state=state, error=str(error))
        self._state, self._error = state, str(error or "")

    async def _while_there_is_no_better(self) -> None:
        """Follow one address until that fails, or another one has the log of a higher epoch."""
        following = asyncio.create_task(self._once())
        better = asyncio.create_task(self._upstreams.better(self._epoch))
        try:
            await asyncio.wait([following, better], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (following, better):
                task.cancel()
            await asyncio.wait([following, better])
        for task in (better, following):
            if not task.cancelled():
                task.result()

    async def _epoch(self) -> int:
        upstream = await self._reader.upstream()
        return upstream.epoch if upstream else 0

    async def _once(self) -> None:
        """Follow until the connection ends, after a snapshot where one is needed."""
        taker = SnapshotTaker(self._client, self._reader, self._changes)
        upstream = await self._reader.upstream()
        if upstream is None or upstream.snapshot:
            self._is(SNAPSHOT)
            upstream = await self._snapshot(taker, upstream)
        for repository in await self._reader.pending_repositories():
            self.look_at(repository)
        try:
            async with aclosing(self._client.log(upstream)) as lines:
                await self._keep(lines, upstream)
        except CutOffError:
            log.warning(
                "the log above does not reach back to where we are: a snapshot is taken", serial=upstream.serial
            )
            self._is(SNAPSHOT)
            await taker.begin()
        except ForkedError as error:
            takeover = error.fork.takeover if error.fork else None
            if takeover is None or not await self._goes_on_from(takeover):
                raise
            await self._keep_fork(takeover, upstream)
            self._is(SNAPSHOT)
            await taker.begin()
            return
        raise UpstreamError(f"{self._client.url} ended the connection")

    async def _goes_on_from(self, takeover: wire.Takeover) -> bool:
        """Whether the log of the node that took over goes on from ours: else it is that of another registry."""
        before = await self._reader.log_event(takeover.after)
        return before is not None and before.chain.hex() == takeover.chain

    async def _keep_fork(self, takeover: wire.Takeover, upstream: Upstream) -> None:
        """What we have beyond the place where the other log went on is nobody's any more, and is kept as a file."""
        log.warning(
            "another node has taken the place of the master, from before where we are: a snapshot is taken",
            epoch=takeover.number,
            after=takeover.after,
            serial=upstream.serial,
        )
        if self._forks is not None:
            to = self._forks / fork.name_of(upstream.epoch, takeover.after)
            await fork.keep(fork.events_after(self._reader, takeover.after), to)

    async def _snapshot(self, taker: SnapshotTaker, begun: Upstream | None) -> Upstream:
        try:
            return await taker.take(begun)
        except CutOffError:  # of what was begun the rest cannot be had any more
            return await taker.take(None)

    async def _keep(self, lines: AsyncGenerator[wire.Line], upstream: Upstream) -> None:
        """Store events as they come, all that have come together in one commit."""
        queue = _Events()
        reading = asyncio.create_task(self._read(lines, upstream, queue))
        try:
            while batch := await queue.take(_MOST_EVENTS):
                upstream = await self._store(batch, upstream)
                self._something.set()  # also where nothing is for a repository: the log may be settled now
        finally:
            reading.cancel()
            await asyncio.wait([reading])
        if not reading.cancelled() and (error := reading.exception()) is not None:
            raise error

    async def _store(self, batch: Sequence[_Told], upstream: Upstream) -> Upstream:
        """Accounts first: what was withdrawn there counts before what was pushed after that can be seen."""
        told = [each.event for each in batch if each.event is not None]
        records = [each.records for each in batch if each.records is not None]
        if records:
            await self._changes.submit(KeepSnapshot((), records[-1], upstream))
        if told:
            upstream = replace(upstream, serial=told[-1].serial, epoch=told[-1].epoch, chain=told[-1].chain.hex())
        cursors = [each.cursor for each in batch if each.cursor]
        if told or cursors:
            upstream = replace(upstream, cursor=cursors[-1] if cursors else upstream.cursor)
            await self._changes.submit(KeepEvents(tuple(told), upstream))
        for event in told:
            if event.repository:
                self.look_at(event.repository)
        return upstream

    async def _read(self, lines: AsyncGenerator[wire.Line], upstream: Upstream, queue: _Events) -> None:
        chain = bytes.fromhex(upstream.chain) if upstream.chain else events.CHAIN_START
        serial = upstream.serial
        records: list[tuple[str, str, str]] = []
        try:
            async for line in lines:
                match line:
                    case wire.Hello():
                        self._is(FOLLOWING)
                    case wire.Event():
                        event = _checked(line, serial, chain)
                        serial, chain = event.serial, event.chain
                        await queue.put(_Told(event, cursor=line.cursor))
                    case wire.Record():
                        records.append((line.kind, line.key, line.value))
                    case wire.RecordsEnd():
                        await queue.put(_Told(records=tuple(records)))
                        records = []
                    case wire.Heartbeat() if line.cursor:
                        await queue.put(_Told(cursor=line.cursor))
        finally:
            await queue.end()

    async def _show_what_is_complete(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._something.wait()
            self._something.clear()
            upstream = await self._reader.upstream()
            if upstream is None or upstream.takes_snapshot:
                continue  # what is dirty stays so until the log has come that far
            while self._dirty:
                repository = next(iter(self._dirty))
                del self._dirty[repository]
                began = loop.time()
                if await self._show(repository, upstream.settled):
                    self._rests_until.pop(repository, None)
                else:
                    self._rests_until[repository] = loop.time() + _RESTS * (loop.time() - began)

    async def _show(self, repository: str, settled: int) -> bool:
        """Show what is complete, and ask for what is lacking; whether nothing waits any more."""
        try:
            entries = await self._entries(repository)
            if not entries:
                return True
            needed = needed_blobs(entries)
            linked = needed if self._is_lazy else await self._linked(repository, needed)
            known = await self._shown.subjects(repository, sorted(targets(entries)))
            found = plan(repository, entries, linked, known, settled)
            if found.show is not None:
                forgiven = (*found.show.forgiven, *sorted(needed)) if self._is_lazy else found.show.forgiven
                await self._changes.submit(replace(found.show, forgiven=forgiven))
                self._has_news.set()
        except UnreadableError as error:
            self._unreadable[repository] = str(error)
            log.error("a change cannot be shown", repository=repository, error=str(error))
            return False
        except ManifestBlobUnknown:  # a blob went between the look and the change
            self.look_at(repository)
            return False
        except RegistryError as error:
            log.error("changes cannot be shown just now", repository=repository, error=error.message)
            asyncio.get_running_loop().call_later(1.0, self.look_at, repository)
            return False
        self._unreadable.pop(repository, None)
        await self._fetcher.want(repository, found.wanted)
        return not found.wanted

    async def _linked(self, repository: str, digests: Iterable[str]) -> set[str]:
        return {digest for digest in digests if await self._shown.blob(repository, digest) is not None}

    async def _entries(self, repository: str) -> list[Entry]:
        found: list[Entry] = []
        after = 0
        while page := await self._reader.pending(repository, after, _PAGE):
            found += [Entry.of(each) for each in page]
            after = page[-1].number
        return found

    async def _acknowledge(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_news.wait(), _ACK_EVERY)
            self._has_news.clear()
            began = loop.time()
            if self._state in (FOLLOWING, SNAPSHOT):
                await self._tell()
            await asyncio.sleep(max(_ACK_PAUSE, _RESTS * (loop.time() - began)))

    async def _tell(self) -> None:
        try:
            await self._client.ack(await self.status())
        except (UpstreamError, RegistryError) as error:
            log.debug("the registry above could not be told how far we are", error=str(error))


def _checked(line: wire.Event, serial: int, chain: bytes) -> JournalEvent:
    """The event, where it follows on the one before. Raises UpstreamError."""
    try:
        event = line.to_journal()
    except ValueError as error:
        raise UpstreamError(f"event {line.serial} cannot be read: {error}") from error
    if event.serial != serial + 1 or not events.verify(chain, event):
        raise UpstreamError(f"event {line.serial} does not follow on event {serial}: it was changed on its way")
    return event
