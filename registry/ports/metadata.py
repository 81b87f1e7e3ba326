"""What the services read of the metadata: manifests, tags, repositories, referrers, and where blobs are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from registry.domain.descriptor import Descriptor
from registry.ports.blobs import StoredBlob


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it is served: the bytes and their type."""

    digest: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class BlobLink:
    """A blob as a repository knows it. `unneeded_since`: seconds since the epoch, None while a manifest needs it.

    `location`: as of StoredBlob.
    """

    size: int
    unneeded_since: float | None
    location: str = ""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some entries in order; `more` says that others follow the last one."""

    entries: Sequence[T]
    more: bool


class MetadataReader(Protocol):
    """Reads of the metadata. Every answer is as new as the last change that was acknowledged."""

    async def manifest_by_tag(self, repository: str, tag: str) -> StoredManifest | None: ...

    async def manifest_by_digest(self, repository: str, digest: str) -> StoredManifest | None: ...

    async def blob(self, repository: str, digest: str) -> BlobLink | None: ...

    async def repository_exists(self, repository: str) -> bool: ...

    async def tags(self, repository: str, after: str, limit: int) -> Sequence[str]:
        """Up to `limit` tags in bytewise order, beginning after `after` ("" for the start)."""
        ...

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        """Repositories that have a manifest, in bytewise order, beginning after `after`."""
        ...

    async def referrers(
        self, repository: str, subject: str, artifact_type: str | None, after: str, limit: int
    ) -> Page[Descriptor]:
        """Manifests whose subject is `subject`, in order of digest, beginning after the digest `after`.

        A page has at most `limit` entries, and fewer where their annotations are large.
        """
        ...

    async def subjects(self, repository: str, digests: Sequence[str]) -> dict[str, str | None]:
        """Of those manifests that exist in the repository, the subject each one names."""
        ...

    async def indexes_with(self, repository: str, digest: str, limit: int) -> Sequence[str]:
        """Digests of up to `limit` indexes of the repository that list a manifest, in order."""
        ...

    def revision(self, repository: str) -> int:
        """A number that two looks have in common only if nothing in the repository has changed between them.

        It is as new as what was last read of the repository, and costs no look at the database.
        """
        ...

    async def stored(self, digest: str) -> StoredBlob | None:
        """A blob that some repository has, else None."""
        ...

    async def garbage(self, after: str = "") -> Sequence[str]:
        """Digests beyond `after` whose bytes are left behind, as no repository has them; some at a time, in order."""
        ...

    async def check(self) -> None:
        """Raises StorageFailure where the database cannot be read."""
        ...
