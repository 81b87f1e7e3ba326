"""/v2/{name}/blobs/{digest}"""

from __future__ import annotations

from aiohttp import web

from registry.domain.digest import Digest
from registry.domain.names import parse_repository
from registry.http import ranges, send
from registry.http.conditions import matches, range_applies
from registry.http.proxies import client_address
from registry.http.redirects import Redirects
from registry.http.router import Call, Route
from registry.services.manifests import ManifestService
from registry.services.pull import PullService

_TYPE = "application/octet-stream"


class BlobHandlers:
    """OCI distribution specification, "Pulling blobs" and "Deleting Blobs"."""

    def __init__(self, pull: PullService, manifests: ManifestService, redirects: Redirects) -> None:
        self._pull = pull
        self._redirects = redirects
        self._manifests = manifests

    def routes(self) -> list[Route]:
        template = "/v2/{name}/blobs/{digest}"
        return [
            Route("GET", template, "pull", self.get, "blob"),
            Route("DELETE", template, "delete", self.delete, "blob"),
        ]

    async def get(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        digest = Digest.parse(call.parameters["digest"])
        etag = f'"{digest}"'
        headers = {
            "Docker-Content-Digest": str(digest),
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Cache-Control": "max-age=31536000, immutable",
        }
        request = call.request
        if request.method == "HEAD" or matches(request, etag):
            size = await self._pull.blob_size(repository, digest)
            if matches(request, etag):
                return web.Response(status=304, headers=headers)
            return web.Response(headers={**headers, "Content-Type": _TYPE, "Content-Length": str(size)})
        if self._redirects.wanted(client_address(request, self._redirects.trusted_proxies)):
            url = await self._pull.blob_url(repository, digest)
            if url is not None:
                # The address is valid for some minutes, so the answer must not be kept.
                found = {**headers, "Location": url, "Cache-Control": "no-store"}
                return web.Response(status=307, headers=found)
        blob = await self._pull.open_blob(repository, digest)
        try:
            wanted = ranges.parse(request.headers.get("Range"), blob.size) if range_applies(request, etag) else []
        except BaseException:
            blob.close()
            raise
        return await send.send_blob(call, blob, wanted, headers, _TYPE)

    async def delete(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        await self._manifests.delete_blob(repository, Digest.parse(call.parameters["digest"]))
        return web.Response(status=202)
