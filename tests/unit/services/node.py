"""A whole node in memory: the services over the shipped fakes, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from registry.domain.changes import Change, Outcome
from registry.domain.digest import Digest
from registry.services.collect import Collector
from registry.services.discovery import DiscoveryService
from registry.services.leases import LocalLeases
from registry.services.manifests import ManifestService
from registry.services.pull import PullService
from registry.services.push import PushService
from registry.storage.memory.blobs import MemoryBlobs
from registry.storage.memory.metadata import MemoryMetadata
from registry.storage.memory.uploads import MemoryUploads
from tests.contracts.adapters import ManualClock
from tests.harness.content import Blob, Image

GRACE, EXPIRE_AFTER = 1000.0, 100.0
REPO, OTHER = "library/one", "library/other"


async def body(*chunks: bytes) -> AsyncIterator[Sequence[bytes]]:
    """The body of a request."""
    for chunk in chunks:
        yield [chunk]


class ChangesLog:
    """Changes that remembers what was submitted."""

    def __init__(self, metadata: MemoryMetadata) -> None:
        self._metadata = metadata
        self.submitted: list[Change] = []

    async def submit(self, change: Change) -> Outcome:
        self.submitted.append(change)
        return await self._metadata.submit(change)


@dataclass
class MemoryNode:
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.metadata = MemoryMetadata(self.clock)
        self.changes = ChangesLog(self.metadata)
        self.blobs = MemoryBlobs()
        self.uploads = MemoryUploads(self.blobs, self.clock)
        self.leases = LocalLeases()
        self.push = PushService(self.uploads, self.blobs, self.metadata, self.changes, self.leases)
        self.pull = PullService(self.metadata, self.blobs, self.changes, self.clock, GRACE)
        self.manifests = ManifestService(self.changes)
        self.discovery = DiscoveryService(self.metadata)
        self.collector = Collector(
            self.metadata, self.changes, self.blobs, self.uploads, self.leases, self.clock, EXPIRE_AFTER, GRACE
        )

    async def push_blob(self, blob: Blob, repository: str = REPO) -> Digest:
        digest = Digest.parse(blob.digest)
        await self.push.push_at_once(repository, digest, body(blob.content))
        return digest

    async def push_image(self, item: Image, tag: str | None = None, repository: str = REPO) -> Digest:
        for blob in item.blobs:
            await self.push_blob(blob, repository)
        return await self.put(item.manifest, tag, repository)

    async def put(self, manifest: Blob, tag: str | None = None, repository: str = REPO) -> Digest:
        reference = tag if tag is not None else Digest.parse(manifest.digest)
        stored = await self.manifests.put(repository, reference, (), manifest.content, manifest.media_type)
        return stored.digest

    def has_bytes(self, blob: Blob) -> bool:
        return Digest.parse(blob.digest) in self.blobs.contents
