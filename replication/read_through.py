"""What clients demand of a slave before it has come: fetched from above by digest, once for all who wait."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import structlog

from registry.domain import events
from registry.domain.digest import Digest
from registry.domain.manifest import parse
from registry.errors import (
    BlobDamaged,
    BlobUnknown,
    ManifestUnknown,
    RegistryError,
    Unavailable,
    UpstreamFailed,
    UpstreamTimedOut,
)
from registry.ports import StoredManifest
from registry.ports.above import Arrival
from registry.ports.replication import ReplicaReader
from replication.client import NoBlobError, RefusedError, TimedOutError, UpstreamClient, UpstreamError, pause
from replication.content import BLOB, MANIFEST, Content
from replication.transfers import DamagedError, Transfers

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_MOST_FLIGHTS = 256
_MOST_QUESTIONS = 16
_TRIES = 3
_REMEMBERED = 60.0  # seconds; how long whoever waits for bytes may take to hear how it ended
_PAGE = 500
_MOST_PAGES = 20


class _Flight:
    """One blob that somebody demanded: how far it is, and how it ended."""

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket
        self.size = 0
        self._upload = ""
        self._offset = 0
        self._landed = False
        self._error: RegistryError | None = None
        self._moved = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        return self._landed or self._error is not None

    def heard(self, upload: str, offset: int) -> None:
        self._upload, self._offset = upload, offset
        self._move()

    def land(self) -> None:
        self._landed = True
        self._move()

    def fail(self, error: RegistryError) -> None:
        self._error = error
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def beyond(self, upload: str, after: int) -> Arrival:
        """Raises what it failed with."""
        while not self.has_ended and self._upload == upload and self._offset <= after:
            await self._moved.wait()
        if self._error is not None:
            raise self._error
        return self.arrival

    @property
    def arrival(self) -> Arrival:
        return Arrival(self.ticket, self.size, self._upload, self._offset, self._landed)


class ReadThrough:
    """Above (registry.ports.above) of a slave's node."""

    def __init__(self, client: UpstreamClient, replica: ReplicaReader, transfers: Transfers) -> None:
        self._client = client
        self._replica = replica
        self._transfers = transfers
        self._tickets = itertools.count(1)
        self._flights: dict[tuple[str, str], _Flight] = {}
        self._remembered: dict[int, _Flight] = {}
        self._asking: dict[tuple[str, str, str], asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._questions = asyncio.Semaphore(_MOST_QUESTIONS)

    async def stop(self) -> None:
        """End what is under way; what has come of it by then is gone on with after a start."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def manifest(self, repository: str, digest: Digest) -> StoredManifest:
        try:
            found = await self._ask(MANIFEST, repository, digest)
        except UpstreamFailed:
            told = await self._told(repository, digest)
            if told is None:
                raise
            return told
        if not found.found:
            raise ManifestUnknown("neither this slave nor the registry above it has such a manifest in this repository")
        if parse(found.content, found.media_type, digest.algorithm).digest != digest:
            raise BlobDamaged("the manifest from above has another digest", {"digest": str(digest)})
        return StoredManifest(str(digest), found.media_type, found.content)

    async def size(self, repository: str, digest: Digest) -> int:
        return (await self._blob(repository, digest)).size

    async def fetch(self, repository: str, digest: Digest) -> Arrival:
        key = repository, str(digest)
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= _MOST_FLIGHTS:
                raise Unavailable("too many blobs are being fetched from above already: try again soon")
            flight = self._flights[key] = _Flight(next(self._tickets))
            self._remembered[flight.ticket] = flight
            self._keep(asyncio.create_task(self._fly(flight, repository, digest)))
        return await flight.beyond("", 0)

    async def arrival(self, ticket: int, after: int) -> Arrival:
        flight = self._remembered.get(ticket)
        if flight is None:
            raise Unavailable("this blob has come, or failed, long ago: ask again")
        return await flight.beyond(flight.arrival.upload, after)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, flight: _Flight, repository: str, digest: Digest) -> None:
        try:
            flight.size = (await self._blob(repository, digest)).size
            async with self._places:
                with self._transfers.listening(digest, flight.heard):
                    await self._bring(repository, digest)
            flight.land()
        except UpstreamError as error:
            log.warning("a blob that a client demands could not be fetched", digest=str(digest), error=str(error))
            flight.fail(_told_to_clients(error))
        except RegistryError as error:
            flight.fail(error)
        finally:
            if not flight.has_ended:  # cancelled, or an error of the program, which asyncio reports
                flight.fail(Unavailable("the slave stopped fetching this blob"))
            del self._flights[repository, str(digest)]
            asyncio.get_running_loop().call_later(_REMEMBERED, self._remembered.pop, flight.ticket)

    async def _bring(self, repository: str, digest: Digest) -> None:
        """With some tries, each from the byte at which the last one broke off."""
        for number in range(1, _TRIES + 1):
            try:
                await self._transfers.bring(repository, digest)
            except (NoBlobError, RefusedError, TimedOutError, DamagedError):
                raise
            except UpstreamError:
                if number == _TRIES:
                    raise
                await pause(number - 1)
            else:
                return

    async def _blob(self, repository: str, digest: Digest) -> Content:
        found = await self._ask(BLOB, repository, digest)
        if not found.found:
            raise BlobUnknown("neither this slave nor the registry above it has such a blob in this repository")
        return found

    async def _ask(self, kind: str, repository: str, digest: Digest) -> Content:
        """What the registry above has, asked once for all who want to know at this moment. Raises UpstreamFailed."""

        async def ask() -> Content:
            async with self._questions:
                return await self._client.content(kind, repository, str(digest))

        key = kind, repository, str(digest)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(ask())
            self._keep(task)
            task.add_done_callback(lambda _: self._asking.pop(key))
        try:
            found: Content = await asyncio.shield(task)
        except UpstreamError as error:
            raise _told_to_clients(error) from error
        return found

    async def _told(self, repository: str, digest: Digest) -> StoredManifest | None:
        """A manifest that is not shown yet, where nothing that was told later takes it away."""
        found, after = None, 0
        for _ in range(_MOST_PAGES):
            page = await self._replica.pending(repository, after, _PAGE)
            for change in page:
                if change.kind in (events.MANIFEST_PUT, events.MANIFEST_DELETE):
                    fields = json.loads(change.payload)
                    if fields["digest"] == str(digest):
                        found = (fields, change.content) if change.kind == events.MANIFEST_PUT else None
            if not page:
                break
            after = page[-1].number
        return StoredManifest(str(digest), found[0]["media_type"], found[1]) if found else None


def _told_to_clients(error: UpstreamError) -> RegistryError:
    if isinstance(error, TimedOutError):
        return UpstreamTimedOut(f"the registry above this slave does not answer in time: {error}")
    if isinstance(error, DamagedError):
        return UpstreamFailed(f"what the registry above this slave sends is damaged: {error}")
    return UpstreamFailed(f"the registry above this slave cannot be asked: {error}")
