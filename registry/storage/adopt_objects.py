"""Taking over objects of another registry in the same store as blobs: the store copies them by itself."""

from __future__ import annotations

import uuid

from registry.domain.changes import KeepPlan, LinkBlob
from registry.domain.digest import Digest
from registry.domain.upload import check_digest, object_key
from registry.errors import Unavailable
from registry.ports import Changes, Original, StoredBlob, StoredBytes, StoredObject, planned
from registry.storage.s3.client import S3Client


class ObjectAdopter:
    """Adopter by CopyObject within the store at `endpoint`; `stored` reads the copies back to verify them.

    `keep_every`: seconds, as for registry.ports.planned.
    """

    def __init__(
        self, client: S3Client, endpoint: str, stored: StoredBytes, changes: Changes, keep_every: float
    ) -> None:
        self._client = client
        self._stored = stored
        self._endpoint = endpoint
        self._changes = changes
        self._keep_every = keep_every

    async def adopt(self, repository: str, digest: Digest, original: Original) -> int | None:
        """Make an object the blob `digest`; its size, or None where it is in another store or cannot be copied there.

        The copy is read once, to be compared with its digest. Raises DigestInvalid where it has other bytes, and
        whatever a change raises; Unavailable where the collector of another node has removed the copy meanwhile.
        """
        if not isinstance(original, StoredObject) or original.endpoint.rstrip("/") != self._endpoint.rstrip("/"):
            return None
        key = object_key(uuid.uuid4().hex)
        async with planned(self._changes, key, self._keep_every):
            if not await self._client.copy(original.bucket, original.key, key):
                return None
            size = await self._client.head(key)
            found = None if size is None else await self._stored.digest(StoredBlob(digest, size, key))
            if size is None or found is None:
                return None
            check_digest(digest, found)
            if not (await self._changes.submit(KeepPlan(key))).changed:
                raise Unavailable("the copy of an object was taken for left over: raise collect.leftovers, try again")
            await self._changes.submit(LinkBlob(repository, str(digest), size, key))
        return size
