"""What a slave has not got yet, as a client demands it: from the registry above, by digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from registry.domain.digest import Digest
from registry.ports.blobs import BlobFile, BlobStream
from registry.ports.metadata import StoredManifest


@dataclass(frozen=True, slots=True)
class Arrival:
    """How far a blob is that is being fetched.

    `ticket` names it; `upload` is the session that has its first `offset` bytes, "" before there is any; `size` is what
    the registry above said. `landed`: all of it is here, verified, and the repository has it.
    """

    ticket: int
    size: int
    upload: str = ""
    offset: int = 0
    landed: bool = False


class Above(Protocol):
    """One for a node, whatever the number of its workers: who demands the same thing waits for the same fetch.

    Every method raises UpstreamFailed where the registry above cannot be asked, and BlobUnknown or ManifestUnknown only
    where it has said that the repository has no such thing.
    """

    async def manifest(self, repository: str, digest: Digest) -> StoredManifest: ...

    async def size(self, repository: str, digest: Digest) -> int:
        """Of a blob; nothing is fetched."""
        ...

    async def fetch(self, repository: str, digest: Digest) -> Arrival:
        """Begin to fetch a blob, or join who has; answered with its first bytes. It goes on whoever waits for it.

        Raises Unavailable where too many are fetched already, BlobDamaged.
        """
        ...

    async def arrival(self, ticket: int, after: int) -> Arrival:
        """The same blob once it has more than `after` bytes, has landed, or has begun anew as another upload.

        Raises what ended the fetch, as `fetch` does.
        """
        ...


class ReadThrough(Protocol):
    """The same as one process uses it. Raises as Above does."""

    async def manifest(self, repository: str, digest: Digest) -> StoredManifest: ...

    async def size(self, repository: str, digest: Digest) -> int: ...

    async def open(self, repository: str, digest: Digest) -> BlobFile | BlobStream:
        """The bytes while they arrive. The last ones of what is read pass only when the whole blob is verified."""
        ...
