"""What a process remembers of the metadata, valid while the database has not moved.

Manifests by digest never change, tags and blobs may. Before each answer from memory `freshness` tells
how far the database is; where it has moved, the journal since the last look says which repositories to
forget. So an answer is never older than the last acknowledged change.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from registry.domain.descriptor import Descriptor
from registry.ports import BlobLink, Page, StoredBlob, StoredManifest
from registry.storage.metadata.freshness import Freshness, Head
from registry.storage.metadata.reader import SqlReader

_EVENTS_A_LOOK = 500
_ENTRY_OVERHEAD = 500


@dataclass(slots=True)
class _Remembered:
    """What is known of one repository; `weight` is about its size in bytes, `revision` no other one ever has."""

    revision: int
    tags: dict[str, StoredManifest] = field(default_factory=dict)
    manifests: dict[str, StoredManifest] = field(default_factory=dict)
    blobs: dict[str, BlobLink] = field(default_factory=dict)
    weight: int = 0


class CachedReader:
    """MetadataReader that answers hot reads from memory, within a bound of bytes."""

    def __init__(self, reader: SqlReader, freshness: Freshness, max_bytes: int) -> None:
        self._reader = reader
        self._freshness = freshness
        self._max_bytes = max_bytes
        self._bytes = 0
        self._repositories: OrderedDict[str, _Remembered] = OrderedDict()
        self._head: Head = (-1, -1)
        self._revisions = itertools.count()
        freshness.add(self._catch_up)

    async def close(self) -> None:
        await self._freshness.close()
        await self._reader.close()

    async def manifest_by_tag(self, repository: str, tag: str) -> StoredManifest | None:
        found = (await self._current(repository)).tags.get(tag)
        if found is None:
            head = self._head
            found = await self._reader.manifest_by_tag(repository, tag)
            if found is not None and head == self._head:
                self._grow(repository, len(found.content)).tags[tag] = found
        return found

    async def manifest_by_digest(self, repository: str, digest: str) -> StoredManifest | None:
        found = (await self._current(repository)).manifests.get(digest)
        if found is None:
            head = self._head
            found = await self._reader.manifest_by_digest(repository, digest)
            if found is not None and head == self._head:
                self._grow(repository, len(found.content)).manifests[digest] = found
        return found

    async def blob(self, repository: str, digest: str) -> BlobLink | None:
        found = (await self._current(repository)).blobs.get(digest)
        if found is not None:
            return found
        head = self._head
        found = await self._reader.blob(repository, digest)
        # That a manifest needs a blob changes with a journal event; a grace time begins anew without one.
        if found is not None and found.unneeded_since is None and head == self._head:
            self._grow(repository, 0).blobs[digest] = found
        return found

    async def _current(self, repository: str) -> _Remembered:
        """What is remembered of a repository, after forgetting what has changed.

        What a caller then reads it may remember only if the head is the same afterwards: else others have caught
        up with a change while the caller waited, and the change may be newer than what the caller has read.
        """
        await self._freshness.ensure()
        known = self._repositories.get(repository)
        return _Remembered(next(self._revisions)) if known is None else known

    async def _catch_up(self, head: Head) -> None:
        serial, unlinks = self._head
        if head == self._head:
            return
        is_far = head[1] != unlinks or not serial <= head[0] <= serial + _EVENTS_A_LOOK
        changed = None if is_far else await self._reader.changed_repositories(serial)
        if changed is None:
            self._repositories.clear()
            self._bytes = 0
        else:
            for repository in changed:
                self._forget(repository)
        self._head = head

    def _forget(self, repository: str) -> None:
        known = self._repositories.pop(repository, None)
        if known is not None:
            self._bytes -= known.weight

    def _grow(self, repository: str, content: int) -> _Remembered:
        """Where to put one more entry."""
        known = self._repositories.get(repository)
        if known is None:
            known = self._repositories[repository] = _Remembered(next(self._revisions))
        self._repositories.move_to_end(repository)
        known.weight += content + _ENTRY_OVERHEAD
        self._bytes += content + _ENTRY_OVERHEAD
        while self._bytes > self._max_bytes:
            _, oldest = self._repositories.popitem(last=False)
            self._bytes -= oldest.weight
        return known

    async def repository_exists(self, repository: str) -> bool:
        return await self._reader.repository_exists(repository)

    async def tags(self, repository: str, after: str, limit: int) -> Sequence[str]:
        return await self._reader.tags(repository, after, limit)

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        return await self._reader.repositories(after, limit)

    async def referrers(
        self, repository: str, subject: str, artifact_type: str | None, after: str, limit: int
    ) -> Page[Descriptor]:
        return await self._reader.referrers(repository, subject, artifact_type, after, limit)

    async def subjects(self, repository: str, digests: Sequence[str]) -> dict[str, str | None]:
        return await self._reader.subjects(repository, digests)

    async def indexes_with(self, repository: str, digest: str, limit: int) -> Sequence[str]:
        return await self._reader.indexes_with(repository, digest, limit)

    def revision(self, repository: str) -> int:
        known = self._repositories.get(repository)
        return next(self._revisions) if known is None else known.revision

    async def stored(self, digest: str) -> StoredBlob | None:
        return await self._reader.stored(digest)

    async def garbage(self, after: str = "") -> Sequence[str]:
        return await self._reader.garbage(after)

    async def check(self) -> None:
        await self._reader.check()
