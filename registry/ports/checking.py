"""All of the metadata and all of the bytes, for those who check or copy them as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.domain.digest import Digest
from registry.domain.events import JournalEvent
from registry.ports.blobs import StoredBlob
from registry.ports.metadata import StoredManifest


@dataclass(frozen=True, slots=True)
class DanglingReference:
    """In a repository, the link, manifest or tag `name` needs `target`, which the repository does not have."""

    repository: str
    name: str
    target: str = ""


class Inventory(Protocol):
    """All of the metadata, for those who check it; what changes meanwhile may be seen or not."""

    async def count(self) -> int:
        """How many blobs there are."""
        ...

    def blobs(self) -> AsyncIterator[Sequence[StoredBlob]]:
        """Every blob that has a row, some at a time."""
        ...

    def manifests(self) -> AsyncIterator[tuple[str, StoredManifest]]:
        """Every manifest with its repository."""
        ...

    def dangling_links(self) -> AsyncIterator[DanglingReference]:
        """Links of repositories to blobs that have no row."""
        ...

    def dangling_parts(self) -> AsyncIterator[DanglingReference]:
        """Manifests and something that each of them needs and its repository does not have."""
        ...

    def dangling_tags(self) -> AsyncIterator[DanglingReference]:
        """Tags that point at a manifest which their repository does not have."""
        ...

    async def repositories_with(self, digest: str) -> Sequence[str]:
        """Some of the repositories that have a blob."""
        ...

    async def stored(self, digest: str) -> StoredBlob | None:
        """As MetadataReader.stored."""
        ...

    async def is_garbage(self, digest: str) -> bool:
        """Whether the collector knows that these bytes are to be removed."""
        ...

    async def events(self, after: int, limit: int) -> Sequence[JournalEvent]: ...

    async def journal_base(self) -> tuple[int, bytes]:
        """Serial and chain of the event before the first one that is kept; 0 and CHAIN_START where none was cut off."""
        ...

    async def head(self) -> tuple[int, bytes]:
        """The serial and the chain that the last event of the journal should have."""
        ...


class StoredBytes(Protocol):
    """The bytes of blobs as they are, for those who check them. Every method raises StorageFailure, Unavailable."""

    async def size(self, blob: StoredBlob) -> int | None:
        """How many bytes there are; None where there is nothing."""
        ...

    async def digest(self, blob: StoredBlob) -> Digest | None:
        """The digest of all bytes, which are read; None where there is nothing."""
        ...

    def files(self) -> AsyncIterator[Sequence[StoredBlob]]:
        """Every file that is named like a blob, some at a time."""
        ...

    async def under_way(self) -> frozenset[Digest]:
        """Blobs that an upload was about to become: nothing says yet whether it did."""
        ...

    async def remove(self, digest: Digest) -> None:
        """Remove the file of a blob; no error where there is none."""
        ...
