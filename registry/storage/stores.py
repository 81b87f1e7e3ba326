"""Which stores the settings name: files in the data directory, or objects in a bucket."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from registry.domain.clock import Clock
from registry.ports import Adopter, BlobStore, Changes, Placer, Remains, SessionReader, StoredBytes, UploadStore
from registry.storage.adopt import FileAdopter
from registry.storage.blobs_fs import FileBlobs
from registry.storage.cache.counts import CacheCounts
from registry.storage.files import DataDirectory
from registry.storage.inspection import FileInspection, ObjectInspection
from registry.storage.place_files import FilePlacer
from registry.storage.s3.settings import StoreSettings
from registry.storage.uploads_fs import FileUploads


class Stores(Protocol):
    """The stores of one process."""

    async def check_at_start(self) -> None:
        """Raises StartupError where the store cannot be used."""
        ...

    async def close(self) -> None: ...

    def blobs(self, directory: DataDirectory, on_damaged: Callable[[], None]) -> BlobStore:
        """`on_damaged` is called for each time that a blob in a bucket is found missing or changed."""
        ...

    def served_blobs(
        self, directory: DataDirectory, cache: int, on_damaged: Callable[[], None], counts: CacheCounts
    ) -> BlobStore:
        """The same for a process that serves clients. `cache`: bytes of disk for copies of blobs that lie elsewhere; 0
        keeps none, and removes what is there: a command beside a node must not ask for it."""
        ...

    def uploads(self, directory: DataDirectory, reader: SessionReader, changes: Changes) -> UploadStore: ...

    def remains(self) -> Remains | None:
        """What removes leftovers from an object store; None where all is in files."""
        ...

    def inspection(self, directory: DataDirectory) -> StoredBytes:
        """What reads the bytes of blobs as they are, to check them."""
        ...

    def placer(self, directory: DataDirectory) -> Placer:
        """What puts blobs that come from elsewhere where new ones go."""
        ...

    def adopter(self, directory: DataDirectory, changes: Changes, keep_every: float) -> Adopter:
        """What makes a file or an object of somebody else's a blob without copying it through this process.

        `keep_every`: seconds, as for registry.ports.planned.
        """
        ...


def chosen(bucket: StoreSettings | None, into_bucket: bool, executor: Executor, boot: str, clock: Clock) -> Stores:
    """`bucket`: None for files alone. `into_bucket`: whether new blobs go there. `boot`: the id of the machine's boot.

    Raises StartupError.
    """
    files = FileStores(executor, boot)
    return BucketStores(bucket, into_bucket, files, executor, clock) if bucket else files


class FileStores:
    """All in the data directory. `boot`: the id of the machine's boot; what an earlier one wrote may be lost."""

    def __init__(self, executor: Executor, boot: str) -> None:
        self._executor = executor
        self._boot = boot

    async def check_at_start(self) -> None:
        """A data directory has been checked by then."""

    async def close(self) -> None:
        """No connection is open."""

    def blobs(self, directory: DataDirectory, _on_damaged: Callable[[], None]) -> BlobStore:
        return FileBlobs(directory, self._executor)

    def served_blobs(
        self, directory: DataDirectory, _cache: int, on_damaged: Callable[[], None], _counts: CacheCounts
    ) -> BlobStore:
        return self.blobs(directory, on_damaged)

    def uploads(self, directory: DataDirectory, _reader: SessionReader, _changes: Changes) -> UploadStore:
        return FileUploads(directory, self._executor, self._boot)

    def remains(self) -> None:
        return None

    def inspection(self, directory: DataDirectory) -> StoredBytes:
        return FileInspection(directory, self._executor)

    def placer(self, directory: DataDirectory) -> Placer:
        return FilePlacer(directory, self._executor)

    def adopter(self, directory: DataDirectory, changes: Changes, _keep_every: float) -> Adopter:
        return FileAdopter(directory, self._executor, self._boot, changes)


class BucketStores:
    """A bucket beside the files: each blob is where its row says, new ones in the bucket where `into_bucket` says so.

    What it needs takes long to import.
    """

    def __init__(
        self, settings: StoreSettings, into_bucket: bool, files: FileStores, executor: Executor, clock: Clock
    ) -> None:
        from registry.storage.s3.client import S3Client

        self._client = S3Client(settings)
        self._endpoint = settings.endpoint
        self._into_bucket = into_bucket
        self._files = files
        self._executor = executor
        self._clock = clock

    async def check_at_start(self) -> None:
        await self._client.check_at_start()

    async def close(self) -> None:
        await self._client.close()

    def blobs(self, directory: DataDirectory, on_damaged: Callable[[], None]) -> BlobStore:
        from registry.storage.blobs_store import StoreBlobs

        return StoreBlobs(self._client, FileBlobs(directory, self._executor), on_damaged)

    def served_blobs(
        self, directory: DataDirectory, cache: int, on_damaged: Callable[[], None], counts: CacheCounts
    ) -> BlobStore:
        from registry.storage.cache.cached_blobs import CachedBlobs

        blobs = self.blobs(directory, on_damaged)
        cached = CachedBlobs(blobs, directory, self._executor, cache, counts)
        self._executor.submit(cached.tidy)
        return cached if cache else blobs

    def uploads(self, directory: DataDirectory, reader: SessionReader, changes: Changes) -> UploadStore:
        from registry.storage.uploads_both import UploadsOfBoth
        from registry.storage.uploads_store import StoreUploads

        files = self._files.uploads(directory, reader, changes)
        store = StoreUploads(self._client, reader, changes, directory, self._executor, self._clock)
        return UploadsOfBoth(store, files) if self._into_bucket else UploadsOfBoth(files, store)

    def remains(self) -> Remains:
        from registry.storage.blobs_store import StoreRemains

        return StoreRemains(self._client)

    def inspection(self, directory: DataDirectory) -> StoredBytes:
        return ObjectInspection(self._client, FileInspection(directory, self._executor))

    def placer(self, directory: DataDirectory) -> Placer:
        from registry.storage.place_objects import ObjectPlacer

        if not self._into_bucket:
            return self._files.placer(directory)
        return ObjectPlacer(self._client, directory, self._executor)

    def adopter(self, directory: DataDirectory, changes: Changes, keep_every: float) -> Adopter:
        from registry.storage.adopt_objects import ObjectAdopter

        if not self._into_bucket:
            return self._files.adopter(directory, changes, keep_every)
        return ObjectAdopter(self._client, self._endpoint, self.inspection(directory), changes, keep_every)
