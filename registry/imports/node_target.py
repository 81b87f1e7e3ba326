"""Into a data directory that no server uses just now: the same services as behind HTTP, called directly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

from registry.domain.digest import Digest
from registry.domain.manifest import Manifest
from registry.errors import DigestInvalid, RegistryError, StorageFailure, StorageFull, Unavailable
from registry.imports.ports import Body, DamagedError, NotThereError, StoppedError, Taken
from registry.ports import Adopter, BlobStore, MetadataReader, Original, StoredBlob
from registry.services.manifests import ManifestService
from registry.services.push import PushService


class NodeTarget:
    """Target over the services of a node."""

    def __init__(
        self,
        reader: MetadataReader,
        blobs: BlobStore,
        push: PushService,
        manifests: ManifestService,
        adopter: Adopter,
    ) -> None:
        self._reader = reader
        self._blobs = blobs
        self._push = push
        self._manifests = manifests
        self._adopter = adopter

    async def close(self) -> None:
        """Whoever opened the node closes it."""

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        with _translated():
            link = await self._reader.blob(repository, str(digest))
            return link is not None and await self._blobs.intact(StoredBlob(digest, link.size, link.location))

    async def put_blob(
        self, repository: str, digest: Digest, original: Original | None, read: Callable[[], Body]
    ) -> Taken:
        with _translated():
            if await self._push.mount(repository, digest, None):
                return Taken()
            if original is not None and (linked := await self._adopted(repository, digest, original)) is not None:
                return Taken(linked=linked)
            counted = _Counted(read())
            await self._push.push_at_once(repository, digest, counted.batches())
            return Taken(copied=counted.size)

    async def _adopted(self, repository: str, digest: Digest, original: Original) -> int | None:
        try:
            return await self._adopter.adopt(repository, digest, original)
        except FileNotFoundError as error:
            raise NotThereError("the blob is not in the storage") from error
        except OSError as error:
            raise DamagedError(f"the blob cannot be read: {error.strerror or error}") from error

    async def media_type(self, repository: str, digest: Digest) -> str | None:
        with _translated():
            found = await self._reader.manifest_by_digest(repository, str(digest))
        return found.media_type if found else None

    async def resolve(self, repository: str, tag: str) -> str | None:
        with _translated():
            found = await self._reader.manifest_by_tag(repository, tag)
        return found.digest if found else None

    async def put_manifest(self, repository: str, manifest: Manifest, tags: Sequence[str]) -> None:
        with _translated():
            await self._manifests.put(repository, manifest.digest, tuple(tags), manifest.content, manifest.media_type)


class _Counted:
    """A body, and how many bytes it had so far."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.size = 0

    async def batches(self) -> AsyncIterator[Sequence[bytes]]:
        async for chunks in self._body:
            self.size += sum(map(len, chunks))
            yield chunks


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the services, told as those of a target: what ends the import, and what concerns one thing alone."""
    try:
        yield
    except (StorageFull, StorageFailure, Unavailable) as error:
        raise StoppedError(error.with_cause) from error
    except DigestInvalid as error:
        raise DamagedError("its bytes do not have its digest") from error
    except RegistryError as error:
        raise DamagedError(error.message) from error
