"""What the services need of the world, as protocols.

Adapters live in `registry.storage`; each of these ports has a fake for tests in
`registry.storage.memory`, and one contract suite is run over every adapter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from registry.domain.changes import Change, LinkBlob, Outcome
from registry.domain.descriptor import Descriptor
from registry.domain.digest import Digest
from registry.domain.events import JournalEvent
from registry.domain.upload import Leftover, UploadSession, UploadState
from registry.errors import StorageFailure

_SLICE = 1024 * 1024


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


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """Where the bytes of a blob are: in the object `location`, or in the file of its digest where that is ""."""

    digest: Digest
    size: int
    location: str = ""


@dataclass(frozen=True, slots=True)
class BlobFile:
    """The bytes of a blob as an open file; whoever opened it closes it. A BlobStream too, for who wants the bytes."""

    fd: int
    size: int

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Raises StorageFailure, also where there are fewer bytes."""
        while start < stop:
            try:
                chunk = await asyncio.to_thread(os.pread, self.fd, min(_SLICE, stop - start), start)
            except OSError as error:
                raise StorageFailure("the file of a blob cannot be read", {"error": error.strerror or ""}) from error
            if not chunk:
                raise StorageFailure("the file of a blob is shorter than it should be")
            yield chunk
            start += len(chunk)

    def close(self) -> None:
        os.close(self.fd)


class BlobStream(Protocol):
    """The bytes of a blob that come from elsewhere, a part at a time."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `stop`; fewer never pass for all. Raises StorageFailure, Unavailable."""
        ...

    def close(self) -> None: ...


@asynccontextmanager
async def reading(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """What `BlobStream.read` gives; it ends when this is left, and not some time after the last one has dropped it."""
    async with aclosing(chunks) if isinstance(chunks, AsyncGenerator) else nullcontext():
        yield chunks


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

    async def stored(self, digest: str) -> StoredBlob | None:
        """A blob that some repository has, else None."""
        ...

    async def garbage(self, after: str = "") -> Sequence[str]:
        """Digests beyond `after` whose bytes are left behind, as no repository has them; some at a time, in order."""
        ...

    async def check(self) -> None:
        """Raises StorageFailure where the database cannot be read."""
        ...


class SessionReader(Protocol):
    """Reads of the upload sessions that are kept in the database, and of what the store holds in vain."""

    async def upload(self, upload_id: str) -> UploadSession | None: ...

    async def idle_uploads(self, before: float) -> Sequence[UploadSession]:
        """Sessions whose last byte came before the time `before` and that nobody holds then; some at a time."""
        ...

    async def uploading_repositories(self, since: float) -> frozenset[str]:
        """Repositories in which a session had a byte since the time `since`, or is held since."""
        ...

    async def leftovers(self, before: float) -> Sequence[Leftover]:
        """What has been left over since before the time `before`, the oldest first; some at a time."""
        ...


class MoveReader(Protocol):
    """Reads for moving all blobs to another kind of store."""

    async def move(self) -> str | None:
        """What was noted last, in the form of registry.domain.move."""
        ...

    async def misplaced(self, into_bucket: bool, after: str) -> Sequence[StoredBlob]:
        """Blobs that are not in the bucket, or not files, beyond the digest `after`; some at a time, in order."""
        ...

    async def misplaced_count(self, into_bucket: bool) -> int: ...

    async def stored(self, digest: str) -> StoredBlob | None:
        """As MetadataReader.stored."""
        ...


class Journal(Protocol):
    """Reads of the journal, for replicas and for those who check it."""

    async def events(self, after: int, limit: int) -> Sequence[JournalEvent]: ...


class Changes(Protocol):
    """The one way to change metadata: each change and its journal event are one transaction."""

    async def submit(self, change: Change) -> Outcome:
        """Returns once the change is durable; raises the RegistryError that refused it.

        Submitting a change again whose answer was lost does no harm.
        """
        ...


class Leases(Protocol):
    """While a digest is leased its bytes are not collected."""

    def hold(self, digest: Digest) -> AbstractAsyncContextManager[None]: ...


class Removals(Protocol):
    """The other side of the leases, for the collector."""

    def removal(self, digest: Digest) -> AbstractAsyncContextManager[bool]:
        """Keep new leases of a digest waiting; yields False where it is leased already."""
        ...


class BlobStore(Protocol):
    """The bytes of complete blobs."""

    async def open(self, blob: StoredBlob) -> BlobFile | BlobStream:
        """The bytes of a blob; where fewer are there, whoever sends them has to notice.

        Raises BlobUnknown where they are absent, StorageFailure where they are more or cannot be read.
        """
        ...

    async def intact(self, blob: StoredBlob) -> bool:
        """Whether a blob of this size is there, as far as can be told without reading it or asking afar."""
        ...

    async def url(self, blob: StoredBlob) -> str | None:
        """Where a client can fetch the bytes by itself, for some minutes; None where it cannot."""
        ...

    async def remove(self, digest: Digest) -> None:
        """Remove the file of a blob; no error where there is none."""
        ...

    def everything(self) -> AsyncIterator[Sequence[Digest]]:
        """Every blob whose bytes are there, some at a time; what comes or goes meanwhile may be missed."""
        ...


class Remains(Protocol):
    """Removes what is left over in an object store; no error where it is not there (any more)."""

    async def remove(self, leftover: Leftover) -> None: ...


class UploadWriter(Protocol):
    """One upload session, held by one request at a time."""

    @property
    def state(self) -> UploadState: ...

    async def write(self, chunks: Sequence[bytes]) -> None:
        """Append bytes and hash them."""
        ...

    async def checkpoint(self) -> UploadState:
        """Make the offset one that the client can be told."""
        ...

    def rehash_with(self, algorithm: str) -> None:
        """Hash with another algorithm; what is there already is read again when the digest is asked for."""
        ...

    async def digest(self) -> Digest:
        """The digest of all bytes so far."""
        ...

    async def publish(self, digest: Digest) -> LinkBlob:
        """Make the bytes durable and complete as the blob `digest`; returns the change that makes it visible."""
        ...

    async def complete(self) -> None:
        """End the session: its blob is published and has its row."""
        ...

    async def discard(self) -> None:
        """End the session without a blob. Where publishing had begun, what is needed to clear up stays."""
        ...


@dataclass(frozen=True, slots=True)
class AbandonedUpload:
    """A session to clear up. `published`: the blob that it was about to become, or had just become."""

    upload_id: str
    published: Digest | None


class UploadStore(Protocol):
    """Uploads that have begun. Their state outlives a restart."""

    async def begin(self, repository: str, algorithm: str) -> UploadState:
        """Raises StorageFull where the reserve of disk would be touched."""
        ...

    async def state(self, repository: str, upload_id: str) -> UploadState:
        """Raises BlobUploadUnknown."""
        ...

    def open(self, repository: str, upload_id: str) -> AbstractAsyncContextManager[UploadWriter]:
        """Hold a session for writing. Raises BlobUploadUnknown, UploadBusy."""
        ...

    def abandoned(self, before: float) -> AsyncIterator[AbandonedUpload]:
        """Sessions that nobody holds and that had their last byte before the time `before`."""
        ...

    async def check(self) -> None:
        """Raises StorageFull, StorageFailure or Unavailable where no upload could be taken."""
        ...

    async def active_repositories(self, since: float) -> frozenset[str]:
        """Repositories in which an upload had a byte since the time `since`, or is held now."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """Something that the metadata says of a repository: of a manifest or tag `name`, that it needs `target`."""

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

    def lost_links(self) -> AsyncIterator[Row]:
        """Links of repositories to blobs that have no row."""
        ...

    def lost_parts(self) -> AsyncIterator[Row]:
        """Manifests and something that each of them needs and its repository does not have."""
        ...

    def lost_tags(self) -> AsyncIterator[Row]:
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

    async def head(self) -> tuple[int, bytes]:
        """The serial and the chain that the last event of the journal should have."""
        ...


class Placer(Protocol):
    """Brings bytes from elsewhere into a store. Every method raises StorageFailure, StorageFull, Unavailable."""

    def new_location(self, name: str) -> str:
        """What the location of a blob becomes here; `name`: nobody else's, for a store that has names of its own."""
        ...

    async def has(self, blob: StoredBlob) -> bool:
        """Whether a blob of this size is at its location."""
        ...

    async def place(self, blob: StoredBlob, chunks: AsyncIterator[bytes]) -> None:
        """Put the bytes durably at the location; raises DigestInvalid, SizeInvalid where they are others."""
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a store; `endpoint` is "" for Amazon's."""

    endpoint: str
    bucket: str
    key: str


Original = Path | StoredObject
"""Where the bytes of a blob lie, for a target that can have them without reading them through."""


class Adopter(Protocol):
    """Takes a blob without copying it."""

    async def adopt(self, repository: str, digest: Digest, original: Original) -> int | None:
        """Make a file or an object the blob `digest`; its size, or None where it has to be copied.

        Raises DigestInvalid where it has other bytes, OSError where it cannot be read, RegistryError.
        """
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
