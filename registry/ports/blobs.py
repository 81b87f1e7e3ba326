"""The bytes of complete blobs: where they are, how they are read and removed, and the leases that keep them."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from registry.domain.digest import Digest
from registry.errors import BlobDamaged, StorageFailure

_SLICE = 1024 * 1024


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
        """Raises StorageFailure, and of it BlobDamaged where there are fewer bytes, or the disk has lost some."""
        while start < stop:
            try:
                chunk = await asyncio.to_thread(os.pread, self.fd, min(_SLICE, stop - start), start)
            except OSError as error:
                kind = BlobDamaged if error.errno == errno.EIO else StorageFailure
                raise kind("the file of a blob cannot be read", {"error": error.strerror or ""}) from error
            if not chunk:
                raise BlobDamaged("the file of a blob is shorter than it should be")
            yield chunk
            start += len(chunk)

    def close(self) -> None:
        os.close(self.fd)


class BlobStream(Protocol):
    """The bytes of a blob that come from elsewhere, a part at a time."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `stop`; fewer never pass for all. Raises StorageFailure (of it
        BlobDamaged where they are others), Unavailable.
        """
        ...

    def close(self) -> None: ...


@asynccontextmanager
async def reading(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """What `BlobStream.read` gives; it ends when this is left, and not some time after the last one has dropped it."""
    async with aclosing(chunks) if isinstance(chunks, AsyncGenerator) else nullcontext():
        yield chunks


class BlobStore(Protocol):
    """The bytes of complete blobs."""

    async def open(self, blob: StoredBlob) -> BlobFile | BlobStream:
        """The bytes of a blob; where fewer are there, whoever sends them has to notice.

        Raises BlobUnknown where they are absent, BlobDamaged where they are more, StorageFailure where they cannot be
        read, which says nothing of the blob.
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


class Leases(Protocol):
    """While a digest is leased its bytes are not collected."""

    def hold(self, digest: Digest) -> AbstractAsyncContextManager[None]: ...


class Removals(Protocol):
    """The other side of the leases, for the collector."""

    def removal(self, digest: Digest) -> AbstractAsyncContextManager[bool]:
        """Keep new leases of a digest waiting; yields False where it is leased already."""
        ...
