"""What a process remembers of the metadata, valid while the database has not moved.

Manifests by digest never change, tags and blobs may. Before each answer from memory the count of
commits is looked at; where it has moved, the journal since the last look says which repositories to
forget. So an answer is never older than the last acknowledged change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from registry.domain.descriptor import Descriptor
from registry.ports import BlobLink, Page, StoredBlob, StoredManifest
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.reader import SqlReader

_EVENTS_A_LOOK = 500
_ENTRY_OVERHEAD = 500


@dataclass(slots=True)
class _Remembered:
    """What is known of one repository; `weight` is about its size in bytes."""

    tags: dict[str, StoredManifest] = field(default_factory=dict)
    manifests: dict[str, StoredManifest] = field(default_factory=dict)
    blobs: dict[str, BlobLink] = field(default_factory=dict)
    weight: int = 0


class CachedReader:
    """MetadataReader that answers hot reads from memory, within a bound of bytes."""

    def __init__(self, reader: SqlReader, commits: CommitCounter, max_bytes: int) -> None:
        self._reader = reader
        self._commits = commits
        self._max_bytes = max_bytes
        self._bytes = 0
        self._repositories: OrderedDict[str, _Remembered] = OrderedDict()
        self._seen = commits.value()
        self._serial, self._unlinks = reader.head()

    async def manifest_by_tag(self, repository: str, tag: str) -> StoredManifest | None:
        known = self._current(repository)
        found = known.tags.get(tag)
        if found is None and (found := await self._reader.manifest_by_tag(repository, tag)) is not None:
            known.tags[tag] = found
            self._grow(repository, known, len(found.content))
        return found

    async def manifest_by_digest(self, repository: str, digest: str) -> StoredManifest | None:
        known = self._current(repository)
        found = known.manifests.get(digest)
        if found is None and (found := await self._reader.manifest_by_digest(repository, digest)) is not None:
            known.manifests[digest] = found
            self._grow(repository, known, len(found.content))
        return found

    async def blob(self, repository: str, digest: str) -> BlobLink | None:
        known = self._current(repository)
        found = known.blobs.get(digest)
        if found is not None:
            return found
        found = await self._reader.blob(repository, digest)
        # That a manifest needs a blob changes with a journal event; a grace time begins anew without one.
        if found is not None and found.unneeded_since is None:
            known.blobs[digest] = found
            self._grow(repository, known, 0)
        return found

    def _current(self, repository: str) -> _Remembered:
        """What is remembered of a repository, after forgetting what has changed."""
        commits = self._commits.value()
        if commits != self._seen:
            self._catch_up()
            self._seen = commits
        known = self._repositories.get(repository)
        return _Remembered() if known is None else known

    def _catch_up(self) -> None:
        serial, unlinks = self._reader.head()
        if unlinks != self._unlinks or serial - self._serial > _EVENTS_A_LOOK:
            self._repositories.clear()
            self._bytes = 0
        elif serial != self._serial:
            for repository in self._reader.changed_repositories(self._serial):
                self._forget(repository)
        self._serial, self._unlinks = serial, unlinks

    def _forget(self, repository: str) -> None:
        known = self._repositories.pop(repository, None)
        if known is not None:
            self._bytes -= known.weight

    def _grow(self, repository: str, known: _Remembered, content: int) -> None:
        self._repositories[repository] = known
        self._repositories.move_to_end(repository)
        known.weight += content + _ENTRY_OVERHEAD
        self._bytes += content + _ENTRY_OVERHEAD
        while self._bytes > self._max_bytes:
            _, oldest = self._repositories.popitem(last=False)
            self._bytes -= oldest.weight

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

    async def stored(self, digest: str) -> StoredBlob | None:
        return await self._reader.stored(digest)

    async def garbage(self, after: str = "") -> Sequence[str]:
        return await self._reader.garbage(after)

    async def check(self) -> None:
        await self._reader.check()
