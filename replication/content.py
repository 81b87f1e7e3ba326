"""Whether a repository has a blob or a manifest: what slaves ask before they read something through."""

from __future__ import annotations

import msgspec
from aiohttp import web

from registry.domain.digest import Digest
from registry.domain.names import parse_repository
from registry.errors import BlobUnknown, ManifestUnknown, RequestInvalid
from registry.ports import MetadataReader
from registry.ports.above import Above
from replication import wire
from replication.routes import REPLICATE, Asked, FeedRoute

BLOB, MANIFEST = "blob", "manifest"


class Content(msgspec.Struct, frozen=True):
    """What a repository has of a digest. `size`: of a blob; `media_type` and `content`: of a manifest.

    `location`: the object of the bucket that holds a blob, "" where it is no object.
    """

    found: bool = False
    size: int = 0
    location: str = ""
    media_type: str = ""
    content: bytes = b""


class Contents:
    """`above`: on a slave, what it asks itself for that which it has not got yet; None where it asks nobody."""

    def __init__(self, reader: MetadataReader, above: Above | None) -> None:
        self._reader = reader
        self._above = above

    def routes(self) -> list[FeedRoute]:
        return [FeedRoute("content", "GET", f"{wire.BASE}/content", REPLICATE, self.content)]

    async def content(self, asked: Asked) -> web.StreamResponse:
        """Always 200, so that nobody takes an address that is not known for a thing that is not there."""
        query, scope = asked.request.query, asked.scope
        repository, digest = parse_repository(query.get("repository", "")), Digest.parse(query.get("digest", ""))
        if scope is not None and not scope.holds(repository):
            return _answer(Content())
        kind = query.get("kind")
        if kind not in (BLOB, MANIFEST):
            raise RequestInvalid(f"kind is {BLOB} or {MANIFEST}")
        found = await (self._blob if kind == BLOB else self._manifest)(repository, digest)
        return _answer(found)

    async def _blob(self, repository: str, digest: Digest) -> Content:
        link = await self._reader.blob(repository, str(digest))
        if link is not None:
            return Content(found=True, size=link.size, location=link.location)
        if self._above is None:
            return Content()
        try:
            return Content(found=True, size=await self._above.size(repository, digest))
        except BlobUnknown:
            return Content()

    async def _manifest(self, repository: str, digest: Digest) -> Content:
        manifest = await self._reader.manifest_by_digest(repository, str(digest))
        if manifest is None and self._above is not None:
            try:
                manifest = await self._above.manifest(repository, digest)
            except ManifestUnknown:
                return Content()
        if manifest is None:
            return Content()
        return Content(found=True, size=len(manifest.content), media_type=manifest.media_type, content=manifest.content)


def _answer(found: Content) -> web.Response:
    return web.Response(body=msgspec.json.encode(found), content_type="application/json")
