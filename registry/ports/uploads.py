"""Uploads that have begun, and what an object store holds in vain because of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from registry.domain.changes import LinkBlob
from registry.domain.digest import Digest
from registry.domain.upload import Leftover, UploadSession, UploadState


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

    async def begin(self, repository: str, algorithm: str, opener: str = "") -> UploadState:
        """`opener`: as of UploadState. Raises StorageFull where the reserve of disk would be touched."""
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


class Remains(Protocol):
    """Removes what is left over in an object store; no error where it is not there (any more)."""

    async def remove(self, leftover: Leftover) -> None: ...
