"""Reading an open blob, whatever it is made of."""

from __future__ import annotations

import os

from registry.ports import BlobFile, BlobStream


async def content_of(blob: BlobFile | BlobStream, most: int) -> bytes:
    """The bytes of a blob, up to `most` where there are more in its file."""
    if isinstance(blob, BlobFile):
        return os.pread(blob.fd, most, 0)
    return b"".join([chunk async for chunk in blob.read(0, blob.size)])
