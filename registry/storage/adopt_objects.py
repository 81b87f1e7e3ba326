"""Blobs that are objects of somebody else's in the same store: the store copies them by itself."""

from __future__ import annotations

import hashlib
import uuid
from asyncio import to_thread

from registry.domain.changes import LinkBlob, PlanObject
from registry.domain.digest import Digest
from registry.domain.upload import check_digest
from registry.ports import Changes, Original, StoredObject
from registry.storage.s3.client import NoSuchObjectError, S3Client


class ObjectAdopter:
    """Copies within one store into the bucket of blobs, by CopyObject. `endpoint`: of that store."""

    def __init__(self, client: S3Client, endpoint: str, changes: Changes) -> None:
        self._client = client
        self._endpoint = endpoint
        self._changes = changes

    async def adopt(self, repository: str, digest: Digest, original: Original) -> int | None:
        """Make an object the blob `digest`; its size, or None where it is in another store or cannot be copied there.

        The copy is read once, to be compared with its digest. Raises DigestInvalid where it has other bytes, and
        whatever a change raises.
        """
        if not isinstance(original, StoredObject) or original.endpoint.rstrip("/") != self._endpoint.rstrip("/"):
            return None
        name = uuid.uuid4().hex
        key = f"blobs/{name[:2]}/{name}"
        await self._changes.submit(PlanObject(key))
        if not await self._client.copy(original.bucket, original.key, key):
            return None
        size = await self._client.head(key)
        if size is None:
            return None
        await self._verify(digest, key, size)
        await self._changes.submit(LinkBlob(repository, str(digest), size, key))
        return size

    async def _verify(self, digest: Digest, key: str, size: int) -> None:
        running = hashlib.new(digest.algorithm)
        try:
            async for chunk in self._client.read(key, 0, size, size):
                await to_thread(running.update, chunk)
        except NoSuchObjectError as error:
            raise FileNotFoundError(str(error)) from error
        check_digest(digest, Digest(digest.algorithm, running.hexdigest()))
