"""Complete blobs as objects; those that are files yet are served from there."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from registry.domain.digest import Digest
from registry.domain.upload import ANY_MULTIPART, Leftover
from registry.errors import BlobDamaged, BlobUnknown
from registry.ports import BlobFile, BlobStore, StoredBlob
from registry.storage.presence import Presence
from registry.storage.s3.client import NoSuchObjectError, S3Client

URL_SECONDS = 300
"""How long an address of the store is good for whoever has it: no longer than a token, whose right it carries on.

A download that has begun goes on, and a client that begins anew asks us for an address anew.
"""
_URL_REUSED = 60.0  # a crowd that pulls one blob gets one address: signing it takes longer than all else
_MOST_URLS = 10_000


class StoreBlobs:
    """BlobStore over an object store and, for blobs without a location, over `files`."""

    def __init__(self, client: S3Client, files: BlobStore, on_damaged: Callable[[], None]) -> None:
        """`on_damaged` is called for each time that an object is missing or is not what its blob was."""
        self._client = client
        self._files = files
        self._presence = Presence(client, on_damaged)
        self._urls: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def open(self, blob: StoredBlob) -> BlobFile | StoreStream:
        if not blob.location:
            opened = await self._files.open(blob)
            assert isinstance(opened, BlobFile)
            return opened
        return StoreStream(self._client, self._presence, blob)

    async def intact(self, blob: StoredBlob) -> bool:
        return await (self._presence.confirms(blob) if blob.location else self._files.intact(blob))

    async def url(self, blob: StoredBlob) -> str | None:
        if not blob.location:
            return None
        now = time.monotonic()
        url, made = self._urls.get(blob.location, ("", -_URL_REUSED))
        if now - made >= _URL_REUSED:
            url = await self._client.presigned(blob.location, URL_SECONDS)
            self._urls[blob.location] = url, now
            if len(self._urls) > _MOST_URLS:
                self._urls.popitem(last=False)
        return url

    async def remove(self, digest: Digest) -> None:
        await self._files.remove(digest)

    async def everything(self) -> AsyncIterator[Sequence[Digest]]:
        async for digests in self._files.everything():
            yield digests


class StoreRemains:
    """Remains over an object store."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    async def remove(self, leftover: Leftover) -> None:
        if leftover.multipart == ANY_MULTIPART:
            for multipart in await self._client.multiparts_of(leftover.key):
                await self._client.abort(leftover.key, multipart)
        elif leftover.multipart:
            await self._client.abort(leftover.key, leftover.multipart)
        else:
            await self._client.delete(leftover.key)


@dataclass(frozen=True, slots=True)
class StoreStream:
    """BlobStream of an object. Read as a whole, it is compared with its digest before the last bytes are given."""

    client: S3Client
    presence: Presence
    blob: StoredBlob

    @property
    def size(self) -> int:
        return self.blob.size

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        whole = (start, stop) == (0, self.blob.size)
        loop, running, held_back = asyncio.get_running_loop(), hashlib.new(self.blob.digest.algorithm), b""
        hashing: asyncio.Future[None] | None = None
        try:
            async for chunk in self.client.read(self.blob.location, start, stop, self.blob.size):
                if hashing is not None:
                    await hashing
                if whole:  # in a thread, while the chunk before is sent and the next one comes
                    hashing = loop.run_in_executor(None, running.update, chunk)
                if held_back:
                    yield held_back
                held_back = chunk
        except NoSuchObjectError as error:
            self.presence.missing(self.blob)
            raise BlobUnknown(
                "the bytes of this blob are missing; push it again", {"digest": str(self.blob.digest)}
            ) from error
        if hashing is not None:
            await hashing
        if whole and running.hexdigest() != self.blob.digest.hex:
            self.presence.changed(self.blob)
            raise BlobDamaged("the bytes of this blob were changed; push it again", {"digest": str(self.blob.digest)})
        if held_back:
            yield held_back

    def close(self) -> None:
        """Nothing is open between two reads."""
