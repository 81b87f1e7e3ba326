"""Comparing what a slave shows with what the registry above has: by sums, then by item; what differs is healed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from registry.domain import events
from registry.domain.changes import KeepRepair
from registry.domain.replica import Pending
from registry.ports import Changes
from registry.ports.replication import FeedReader, ReplicaReader, StateReader
from replication import wire
from replication.client import UpstreamClient, UpstreamError
from replication.states import States
from replication.sums import EMPTY

log = structlog.get_logger(__name__)

_PAGE = 1000
_TRIES = 5
_REST = 0.5  # seconds between two tries: what waits is shown meanwhile
_MOST_TOLD = 100


@dataclass(slots=True)
class Verified:
    """`differing`: what differed, as lines, some of them; `drift`: how many items did, all of which are being healed.
    `unclear`: repositories that changed all the while, or wait for something."""

    repositories: int = 0
    unclear: int = 0
    drift: int = 0
    differing: list[str] = field(default_factory=list)

    def tell(self, line: str) -> None:
        self.drift += 1
        if len(self.differing) < _MOST_TOLD:
            self.differing.append(line)


@dataclass(frozen=True, slots=True)
class Items:
    """What a repository holds: media types of manifests by digest, and digests of tags by name."""

    manifests: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AsAbove:
    """A repository as the registry above had it some time between the events `serial` and `end`."""

    items: Items
    contents: Mapping[str, bytes]
    serial: int
    end: int


def differences(here: Items, above: Items) -> list[tuple[str, str, str]]:
    """Kind of the event that heals each, what it is about, and a line for people. What goes comes last."""
    found = [
        (events.MANIFEST_PUT, digest, f"manifest {digest} is {here.manifests.get(digest, 'missing')} here")
        for digest, media_type in above.manifests.items()
        if here.manifests.get(digest) != media_type
    ]
    found += [
        (events.TAG_SET, tag, f"tag {tag} is {here.tags.get(tag, 'missing')}, and {digest} above")
        for tag, digest in above.tags.items()
        if here.tags.get(tag) != digest
    ]
    found += [(events.TAG_DELETE, tag, f"tag {tag} is not there above") for tag in here.tags if tag not in above.tags]
    gone = [digest for digest in here.manifests if digest not in above.manifests]
    return found + [(events.MANIFEST_DELETE, digest, f"manifest {digest} is not there above") for digest in gone]


class Verifier:
    """`look_at`: told of each repository in which something waits to be shown."""

    def __init__(
        self,
        client: UpstreamClient,
        reader: ReplicaReader,
        feed: FeedReader,
        states: StateReader,
        changes: Changes,
        look_at: Callable[[str], None],
    ) -> None:
        self._client = client
        self._reader = reader
        self._feed = feed
        self._items = states
        self._states = States(feed, states)
        self._changes = changes
        self._look_at = look_at

    async def run(self, only: str = "") -> Verified:
        """All repositories, or one. Raises UpstreamError, StorageFailure, Unavailable."""
        upstream = await self._reader.upstream()
        if upstream is not None and upstream.is_limited:
            raise UpstreamError("the sums of a whole registry say nothing to a slave of some repositories")
        found = Verified()
        if only:
            await self._examine(only, found)
            return found
        async for name, above in self._sums():
            found.repositories += 1
            if above is None or not await self._agrees(above):
                await self._examine(name, found)
        return found

    async def _sums(self) -> AsyncIterator[tuple[str, wire.RepositoryState | None]]:
        """The repositories of either side, with the sum above; None where it has none of that name, or no sum."""
        after, more = "", True
        while more:
            page = await self._client.state(after)
            told = {state.repository: state for state in page.repositories}
            for name in sorted({*told, *[name async for name in self._names(after, page.last)]}):
                state = told.get(name)
                yield name, state if state is not None and state.sum else None
            after, more = page.last, bool(page.last)

    async def _names(self, after: str, through: str) -> AsyncIterator[str]:
        """Repositories that are shown here, from beyond `after` on, and up to `through` ("" for the end)."""
        last = after
        while page := await self._feed.repositories(last, _PAGE):
            last = page[-1]
            for name in page:
                if through and name > through:
                    return
                yield name

    async def _agrees(self, above: wire.RepositoryState) -> bool:
        """Whether both sums are of the same events, and equal."""
        here = await self._states.of(above.repository)
        is_same_place = not await self._feed.newest_of(above.repository, min(above.serial, here.serial), 1)
        end = (await self._feed.log_position()).serial
        return is_same_place and end >= above.serial and (here.sum or EMPTY) == above.sum

    async def _examine(self, name: str, found: Verified) -> None:
        """Compare item by item, and have what differs healed."""
        for _ in range(_TRIES):
            above = await self._above(name)
            if not await self._is_quiet(name, above):
                await asyncio.sleep(_REST)
                continue
            wrong = differences(await self._here(name), above.items)
            if not wrong:
                return
            pending = [self._heals(name, above, kind, what) for kind, what, _ in wrong]
            # Whether both sides were of the same events is decided with the change, in one transaction.
            if (await self._changes.submit(KeepRepair(name, tuple(pending), above.serial, above.end))).changed:
                for _, _, line in wrong:
                    found.tell(f"{name}: {line}")
                log.warning(
                    "a repository was not what it is above, and is being healed", repository=name, items=len(wrong)
                )
                self._look_at(name)
                return
            await asyncio.sleep(_REST)
        found.unclear += 1

    async def _is_quiet(self, name: str, above: AsAbove) -> bool:
        """Whether what is shown here is of the same events; so it stays unless more is told."""
        end = (await self._feed.log_position()).serial
        is_same_place = end >= above.end and not await self._feed.newest_of(name, above.serial, 1)
        return is_same_place and not await self._reader.pending(name, 0, 1)

    def _heals(self, name: str, above: AsAbove, kind: str, what: str) -> Pending:
        payload: dict[str, object]
        match kind:
            case events.MANIFEST_PUT:
                payload = {"digest": what, "media_type": above.items.manifests[what], "tags": []}
            case events.TAG_SET:
                payload = {"tag": what, "digest": above.items.tags[what]}
            case events.TAG_DELETE:
                payload = {"tag": what}
            case _:
                payload = {"digest": what}
        content = above.contents[what] if kind == events.MANIFEST_PUT else b""
        return Pending(0, name, above.serial, kind, json.dumps(payload).encode(), content, is_snapshot=True)

    async def _here(self, name: str) -> Items:
        manifests: dict[str, str] = {}
        tags: dict[str, str] = {}
        last = ""
        while rows := await self._items.manifest_types(name, last, _PAGE):
            manifests.update(rows)
            last = rows[-1][0]
        last = ""
        while rows := await self._feed.snapshot_tags(name, last, _PAGE):
            tags.update(rows)
            last = rows[-1][0]
        return Items(manifests, tags)

    async def _above(self, name: str) -> AsAbove:
        manifests: dict[str, str] = {}
        contents: dict[str, bytes] = {}
        tags: dict[str, str] = {}
        serial = 0
        async with aclosing(self._client.repository(name)) as lines:
            async for line in lines:
                match line:
                    case wire.Hello():
                        serial = line.position.serial
                    case wire.Manifest():
                        manifests[line.digest] = line.media_type
                        try:
                            contents[line.digest] = base64.b64decode(line.content, validate=True)
                        except ValueError as error:
                            raise UpstreamError(f"manifest {line.digest[:80]} cannot be read: {error}") from error
                    case wire.Tag():
                        tags[line.name] = line.digest
                    case wire.SnapshotEnd():
                        return AsAbove(Items(manifests, tags), contents, serial, line.position.serial)
        raise UpstreamError("the repository broke off")
