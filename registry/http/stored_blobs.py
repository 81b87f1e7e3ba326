"""The bytes of any blob that the node has, for slaves: they copy all repositories, so no repository is named."""

from __future__ import annotations

from aiohttp import web

from registry.domain.digest import Digest
from registry.errors import BlobUnknown
from registry.http import ranges, send
from registry.http.conditions import range_applies
from registry.http.router import Call
from registry.ports import BlobStore, MetadataReader
from registry.ports.above import ReadThrough
from registry.services.opening import open_stored

_TYPE = "application/octet-stream"


class StoredBlobs:
    """Sends blobs whole or by ranges, as the blobs of repositories are sent."""

    def __init__(self, reader: MetadataReader, blobs: BlobStore, above: ReadThrough | None = None) -> None:
        self._reader = reader
        self._blobs = blobs
        self._above = above

    async def send(self, call: Call, digest: Digest, repository: str = "") -> web.StreamResponse:
        """`repository`: where it can be read through, if it is not here yet. Raises BlobUnknown, RangeUnsatisfiable,
        StorageFailure, Unavailable, UpstreamFailed."""
        stored = await self._reader.stored(str(digest))
        etag = f'"{digest}"'
        headers = {"Docker-Content-Digest": str(digest), "ETag": etag, "Accept-Ranges": "bytes"}
        if call.request.method == "HEAD":
            size = stored.size if stored else await self._from_above(repository, digest).size(repository, digest)
            return web.Response(headers={**headers, "Content-Type": _TYPE, "Content-Length": str(size)})
        if stored is not None:
            blob = await open_stored(self._reader, self._blobs, stored)
        else:
            blob = await self._from_above(repository, digest).open(repository, digest)
        try:
            header = call.request.headers.get("Range")
            wanted = ranges.parse(header, blob.size) if range_applies(call.request, etag) else []
        except BaseException:
            blob.close()
            raise
        return await send.send_blob(call, blob, wanted, headers, _TYPE)

    def _from_above(self, repository: str, digest: Digest) -> ReadThrough:
        """Raises BlobUnknown where there is nobody to ask, or no repository to ask for."""
        if self._above is None or not repository:
            raise BlobUnknown("this node has no such blob", {"digest": str(digest)})
        return self._above
