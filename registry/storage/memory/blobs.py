"""Complete blobs in a dictionary."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence

from registry.domain.digest import Digest
from registry.errors import BlobDamaged, BlobUnknown
from registry.ports import BlobFile, StoredBlob


class MemoryBlobs:
    """BlobStore; `contents` may be changed by a test that wants a blob damaged."""

    def __init__(self) -> None:
        self.contents: dict[Digest, bytes] = {}

    async def open(self, blob: StoredBlob) -> BlobFile:
        digest, size = blob.digest, blob.size
        content = self.contents.get(digest)
        if content is None:
            raise BlobUnknown("the bytes of this blob are missing; push it again", {"digest": str(digest)})
        if len(content) > size:
            raise BlobDamaged("the bytes of this blob were changed; push it again", {"digest": str(digest)})
        descriptor = os.memfd_create("blob")
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return BlobFile(descriptor, size)

    async def intact(self, blob: StoredBlob) -> bool:
        return len(self.contents.get(blob.digest, b"")) == blob.size and blob.digest in self.contents

    async def url(self, blob: StoredBlob) -> None:
        return None

    async def remove(self, digest: Digest) -> None:
        self.contents.pop(digest, None)

    async def everything(self) -> AsyncIterator[Sequence[Digest]]:
        yield list(self.contents)
