"""The bytes of any blob that the node has, for slaves: they copy all repositories, so no repository is named."""

from __future__ import annotations

from aiohttp import web

from registry.domain.digest import Digest
from registry.errors import BlobUnknown
from registry.http import ranges, send
from registry.http.conditions import range_applies
from registry.http.router import Call
from registry.ports import BlobStore, MetadataReader
from registry.services.opening import open_stored

_TYPE = "application/octet-stream"


class StoredBlobs:
    """Sends blobs whole or by ranges, as the blobs of repositories are sent."""

    def __init__(self, reader: MetadataReader, blobs: BlobStore) -> None:
        self._reader = reader
        self._blobs = blobs

    async def send(self, call: Call, digest: Digest) -> web.StreamResponse:
        """Raises BlobUnknown, RangeUnsatisfiable, StorageFailure, Unavailable."""
        stored = await self._reader.stored(str(digest))
        if stored is None:
            raise BlobUnknown("this node has no such blob", {"digest": str(digest)})
        etag = f'"{digest}"'
        headers = {"Docker-Content-Digest": str(digest), "ETag": etag, "Accept-Ranges": "bytes"}
        if call.request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Type": _TYPE, "Content-Length": str(stored.size)})
        blob = await open_stored(self._reader, self._blobs, stored)
        try:
            header = call.request.headers.get("Range")
            wanted = ranges.parse(header, blob.size) if range_applies(call.request, etag) else []
        except BaseException:
            blob.close()
            raise
        return await send.send_blob(call, blob, wanted, headers, _TYPE)
