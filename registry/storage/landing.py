"""Blobs that a slave serves while they arrive: out of the file in which the node stages them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from registry.domain.digest import Digest
from registry.errors import BlobDamaged, BlobUnknown, StorageFailure
from registry.ports import BlobFile, BlobStore, BlobStream, MetadataReader, StoredBlob, StoredManifest
from registry.ports.above import Above, Arrival
from registry.services.opening import open_stored
from registry.storage.files import DataDirectory

_SLICE = 512 * 1024
_HELD_BACK = 16 * 1024
"""Bytes at the end of each answer that wait until the blob is verified: without them nobody takes it for whole."""


class StagedReadThrough:
    """ReadThrough of a process. What is staged in a bucket cannot be read before it has landed, and is waited for."""

    def __init__(self, above: Above, reader: MetadataReader, blobs: BlobStore, directory: DataDirectory) -> None:
        self._above = above
        self._reader = reader
        self._blobs = blobs
        self._directory = directory

    async def manifest(self, repository: str, digest: Digest) -> StoredManifest:
        return await self._above.manifest(repository, digest)

    async def size(self, repository: str, digest: Digest) -> int:
        return await self._above.size(repository, digest)

    async def open(self, repository: str, digest: Digest) -> BlobFile | BlobStream:
        arrival = await self._above.fetch(repository, digest)
        if not arrival.landed:
            try:
                staged = os.open(self._directory.uploads / f"{arrival.upload}.data", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # it is staged elsewhere, or landed just now
                pass
            except OSError as error:
                raise StorageFailure("a staged blob cannot be read", {"error": error.strerror or ""}) from error
            else:
                return LandingBlob(self._above, arrival, staged)
        while not arrival.landed:
            arrival = await self._above.arrival(arrival.ticket, arrival.offset)
        link = await self._reader.blob(repository, str(digest))
        if link is None:
            raise BlobUnknown("the blob was removed as soon as it had come", {"digest": str(digest)})
        return await open_stored(self._reader, self._blobs, StoredBlob(digest, link.size, link.location))


class LandingBlob:
    """BlobStream over an open file that still grows."""

    def __init__(self, above: Above, arrival: Arrival, descriptor: int) -> None:
        self._above = above
        self._arrival = arrival
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        return self._arrival.size

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        held_from = max(start, stop - _HELD_BACK)
        while start < stop:
            until = stop if self._arrival.landed else min(self._arrival.offset, held_from)
            chunk = b""
            if start < until:
                chunk = await asyncio.to_thread(self._read, min(_SLICE, until - start), start)
            if chunk:
                yield chunk
                start += len(chunk)
            elif self._arrival.landed:
                raise BlobDamaged("the registry above told another size than the blob has")
            else:  # also where the file was cut back to where it goes on from
                await self._move_on()

    async def _move_on(self) -> None:
        """Wait for more bytes. Raises BlobDamaged where the bytes that were read are not those that count any more."""
        now = await self._above.arrival(self._arrival.ticket, self._arrival.offset)
        if now.upload != self._arrival.upload:
            raise BlobDamaged("the bytes from above were damaged, and are fetched anew")
        self._arrival = now

    def _read(self, size: int, start: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, start)
        except OSError as error:
            raise StorageFailure("a staged blob cannot be read", {"error": error.strerror or ""}) from error

    def close(self) -> None:
        os.close(self._descriptor)
