"""Tags, catalog, referrers: lists, a page at a time."""

from __future__ import annotations

import json

from aiohttp import web

from registry.domain.digest import Digest
from registry.domain.manifest import OCI_INDEX
from registry.domain.names import parse_repository
from registry.http.links import Links, page_size
from registry.http.router import Call, Route
from registry.services.discovery import DiscoveryService


class DiscoveryHandlers:
    """OCI distribution specification, "Content Discovery"; `_catalog` is of the Docker Registry HTTP API V2."""

    def __init__(self, discovery: DiscoveryService, links: Links) -> None:
        self._discovery = discovery
        self._links = links

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v2/{name}/tags/list", "pull", self.tags, "tags"),
            Route("GET", "/v2/{name}/referrers/{digest}", "pull", self.referrers, "referrers"),
            Route("GET", "/v2/_catalog", "catalog", self.catalog, "catalog"),
        ]

    async def tags(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        query = call.request.query
        limit = page_size(query)
        page = await self._discovery.tags(repository, query.get("last", ""), limit)
        response = _json({"name": repository, "tags": list(page.entries)})
        if page.more:
            self._add_next(response, f"/v2/{repository}/tags/list", limit, page.entries[-1])
        return response

    async def catalog(self, call: Call) -> web.StreamResponse:
        query = call.request.query
        limit = page_size(query)
        visible = None if call.visitor.is_open else call.visitor.may_list
        page = await self._discovery.repositories(query.get("last", ""), limit, visible)
        response = _json({"repositories": list(page.entries)})
        if page.more:
            self._add_next(response, "/v2/_catalog", limit, page.entries[-1])
        return response

    async def referrers(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        digest = Digest.parse(call.parameters["digest"])
        query = call.request.query
        artifact_type, limit = query.get("artifactType") or None, page_size(query)
        page = await self._discovery.referrers(repository, digest, artifact_type, query.get("last", ""), limit)
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor.to_json() for descriptor in page.entries],
        }
        response = _json(document, OCI_INDEX)
        if artifact_type is not None:
            response.headers["OCI-Filters-Applied"] = "artifactType"
        if page.more:
            path, filters = f"/v2/{repository}/referrers/{digest}", {"artifactType": artifact_type}
            self._add_next(response, path, limit, page.entries[-1].digest, filters)
        return response

    def _add_next(
        self,
        response: web.Response,
        path: str,
        limit: int | None,
        last: str,
        filters: dict[str, str | None] | None = None,
    ) -> None:
        query = {"n": str(limit) if limit is not None else None, "last": last, **(filters or {})}
        link = self._links.next_page(path, {name: value for name, value in query.items() if value is not None})
        response.headers["Link"] = link


def _json(document: dict[str, object], content_type: str = "application/json") -> web.Response:
    return web.Response(
        body=json.dumps(document, separators=(",", ":")).encode(), headers={"Content-Type": content_type}
    )
