"""Taking a snapshot: all that the registry above has, as changes that wait to be shown; it goes on after a break.

What is told is of several moments, as the registry above changes meanwhile. Together with the log from where the
snapshot began it is true again once the log has reached where the snapshot ended (`Upstream.settled`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace

import structlog

from registry.domain import events
from registry.domain.changes import KeepSnapshot
from registry.domain.replica import Pending, Upstream
from registry.ports import Changes
from registry.ports.replication import ReplicaReader
from replication import wire
from replication.client import UpstreamClient, UpstreamError

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 1000
_MOST_BYTES = 8 * 1024 * 1024
_PAGE = 1000


class SnapshotTaker:
    """Takes one snapshot at a time."""

    def __init__(self, client: UpstreamClient, reader: ReplicaReader, changes: Changes) -> None:
        self._client = client
        self._reader = reader
        self._changes = changes

    async def begin(self) -> None:
        """What we have of the log is of no use; the next `take` begins at the beginning."""
        before = await self._reader.upstream() or Upstream()
        begun = Upstream(before.registry, snapshot=True, cursor=before.cursor)
        await self._changes.submit(KeepSnapshot((), None, begun, begins=True))

    async def take(self, begun: Upstream | None) -> Upstream:
        """Take a snapshot, or the rest of the one that was `begun`; returns where the log goes on.

        Raises UpstreamError where it breaks off: what has come is kept.
        """
        if begun is None or not begun.after:
            await self.begin()
            begun = begun or Upstream(snapshot=True)
        async with aclosing(self._client.snapshot(begun.after, begun.cursor if begun.after else "")) as lines:
            return await _Taking(self._reader, self._changes, begun).take(lines)


class _Taking:
    """What of a snapshot has come and is not stored yet."""

    def __init__(self, reader: ReplicaReader, changes: Changes, upstream: Upstream) -> None:
        self._reader = reader
        self._changes = changes
        self._upstream = upstream
        self._records: list[tuple[str, str, str]] | None = None if upstream.after else []
        self._pending: list[Pending] = []
        self._size = 0
        self._manifests: set[str] = set()
        self._known: set[str] | None = None
        self._tags: set[str] = set()

    async def take(self, lines: AsyncIterator[wire.Line]) -> Upstream:
        async for line in lines:
            match line:
                case wire.Hello():
                    self._greeted(line)
                case wire.Record():
                    if self._records is not None:
                        self._records.append((line.kind, line.key, line.value))
                case wire.Manifest():
                    await self._manifest(line)
                case wire.Tag():
                    await self._tag(line)
                case wire.RepositoryEnd():
                    await self._end_of(line.repository)
                case wire.SnapshotEnd():
                    return await self._end(line.position)
        raise UpstreamError("the snapshot broke off")

    def _greeted(self, hello: wire.Hello) -> None:
        """The log is followed from where the first part began, as that is the oldest of all that is told."""
        if not self._upstream.after:
            at = hello.position
            self._upstream = Upstream(
                hello.registry,
                at.serial,
                at.epoch,
                at.chain,
                snapshot=True,
                base_serial=at.serial,
                base_epoch=at.epoch,
                base_chain=at.chain,
                cursor=hello.cursor,
            )

    async def _manifest(self, line: wire.Manifest) -> None:
        if self._known is None:
            self._known = set(await self._reader.known_manifests(line.repository))
        self._manifests.add(line.digest)
        if line.digest not in self._known:
            try:
                content = base64.b64decode(line.content, validate=True)
            except ValueError as error:
                raise UpstreamError(f"manifest {line.digest[:80]} of the snapshot cannot be read: {error}") from error
            payload = {"digest": line.digest, "media_type": line.media_type, "tags": []}
            await self._add(line.repository, events.MANIFEST_PUT, payload, content)

    async def _tag(self, line: wire.Tag) -> None:
        self._tags.add(line.name)
        await self._add(line.repository, events.TAG_SET, {"tag": line.name, "digest": line.digest})

    async def _end_of(self, repository: str) -> None:
        """This repository is whole: what is shown and was not told is gone above, in it and between it and the one
        before."""
        async for name in self._names_between(self._upstream.after, repository):
            await self._remove(name, set(), set())
        await self._remove(repository, self._manifests, self._tags)
        self._manifests, self._tags, self._known = set(), set(), None
        await self._store(replace(self._upstream, after=repository))

    async def _end(self, position: wire.Position) -> Upstream:
        async for name in self._names_between(self._upstream.after, ""):
            await self._remove(name, set(), set())
        await self._store(replace(self._upstream, snapshot=False, after="", settled=position.serial))
        log.info("a snapshot was taken", serial=self._upstream.serial, settled=position.serial)
        return self._upstream

    async def _remove(self, repository: str, manifests: set[str], tags: set[str]) -> None:
        last = ""
        while page := await self._reader.tags(repository, last, _PAGE):
            last = page[-1]
            for tag in page:
                if tag not in tags:
                    await self._add(repository, events.TAG_DELETE, {"tag": tag})
        for digest in await self._reader.known_manifests(repository):
            if digest not in manifests:
                await self._add(repository, events.MANIFEST_DELETE, {"digest": digest})

    async def _names_between(self, after: str, before: str) -> AsyncIterator[str]:
        """Repositories that are shown here, beyond `after` and before `before` ("" for the end)."""
        last = after
        while page := await self._reader.repositories(last, _PAGE):
            last = page[-1]
            for name in page:
                if before and name >= before:
                    return
                yield name

    async def _add(self, repository: str, kind: str, payload: Mapping[str, object], content: bytes = b"") -> None:
        document = json.dumps(payload).encode()
        serial = self._upstream.serial
        self._pending.append(Pending(0, repository, serial, kind, document, content, is_snapshot=True))
        self._size += len(content) + len(document)
        if len(self._pending) >= _MOST_AT_ONCE or self._size >= _MOST_BYTES:
            await self._store(self._upstream)

    async def _store(self, upstream: Upstream) -> None:
        pending, records = tuple(self._pending), None if self._records is None else tuple(self._records)
        self._pending, self._size, self._records = [], 0, None
        await self._changes.submit(KeepSnapshot(pending, records, upstream))
        self._upstream = upstream
