"""The bytes of blobs as they are, for fsck and for verifying copies: files, and objects by their location."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from registry.domain.digest import Digest
from registry.errors import DigestInvalid
from registry.ports import StoredBlob
from registry.storage.files import DataDirectory, in_thread
from registry.storage.upload_record import UploadRecord

if TYPE_CHECKING:
    from registry.storage.s3.client import S3Client

T = TypeVar("T")


class FileInspection:
    """StoredBytes of the files in a data directory."""

    def __init__(self, directory: DataDirectory, executor: Executor) -> None:
        self._directory = directory
        self._executor = executor

    async def size(self, blob: StoredBlob) -> int | None:
        path = self._directory.blob(blob.digest)
        return await self._in_thread(lambda: path.stat().st_size if path.is_file() else None)

    async def digest(self, blob: StoredBlob) -> Digest | None:
        path = self._directory.blob(blob.digest)
        return await self._in_thread(partial(digest_of_file, path, blob.digest.algorithm))

    async def files(self) -> AsyncIterator[Sequence[StoredBlob]]:
        for algorithm, shelf in self._directory.shelves():
            yield await self._in_thread(partial(_blobs_in, algorithm, shelf))

    async def under_way(self) -> frozenset[Digest]:
        def read() -> frozenset[Digest]:
            records = map(UploadRecord.load, self._directory.uploads.glob("*.state"))
            return frozenset(Digest.parse(record.publishing) for record in records if record and record.publishing)

        return await self._in_thread(read)

    async def remove(self, digest: Digest) -> None:
        await self._in_thread(partial(self._directory.blob(digest).unlink, missing_ok=True))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await in_thread(self._executor, "looking at a blob", work)


class ObjectInspection:
    """StoredBytes of a bucket for blobs that have a location, and of files for the others."""

    def __init__(self, client: S3Client, files: FileInspection) -> None:
        self._client = client
        self._files = files

    async def size(self, blob: StoredBlob) -> int | None:
        return await self._client.head(blob.location) if blob.location else await self._files.size(blob)

    async def digest(self, blob: StoredBlob) -> Digest | None:
        if not blob.location:
            return await self._files.digest(blob)
        from registry.storage.s3.client import NoSuchObjectError

        running = hashlib.new(blob.digest.algorithm)
        try:
            async for chunk in self._client.read(blob.location, 0, blob.size, blob.size):
                await asyncio.to_thread(running.update, chunk)
        except NoSuchObjectError:
            return None
        return Digest(blob.digest.algorithm, running.hexdigest())

    def files(self) -> AsyncIterator[Sequence[StoredBlob]]:
        return self._files.files()

    async def under_way(self) -> frozenset[Digest]:
        return await self._files.under_way()

    async def remove(self, digest: Digest) -> None:
        await self._files.remove(digest)


def digest_of_file(path: Path, algorithm: str) -> Digest | None:
    """None where there is no such file; raises OSError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())
    except FileNotFoundError:
        return None


def _blobs_in(algorithm: str, shelf: Path) -> list[StoredBlob]:
    """Files that are named like a blob; one of somebody else's is left alone."""
    found = []
    with os.scandir(shelf) as entries:
        for entry in entries:
            try:
                digest = Digest.parse(f"{algorithm}:{entry.name}")
            except DigestInvalid:
                continue
            found.append(StoredBlob(digest, entry.stat(follow_symlinks=False).st_size))
    return found
