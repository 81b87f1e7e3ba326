"""Opening blobs whose row may have changed since it was read."""

from __future__ import annotations

from registry.errors import BlobUnknown
from registry.ports import BlobFile, BlobStore, BlobStream, MetadataReader, StoredBlob


async def open_stored(reader: MetadataReader, blobs: BlobStore, blob: StoredBlob) -> BlobFile | BlobStream:
    """The bytes of a blob, where it is now. Raises BlobUnknown, StorageFailure, Unavailable."""
    try:
        return await blobs.open(blob)
    except BlobUnknown:
        now = await reader.stored(str(blob.digest))
        if now is None or now.location == blob.location:
            raise
        return await blobs.open(now)  # it was moved after its row was read
