"""/v2/{name}/manifests/{reference}"""

from __future__ import annotations

import re
from functools import lru_cache

from aiohttp import web
from multidict import CIMultiDict

from registry.domain.manifest import INDEX_TYPES, MAX_MANIFEST_SIZE
from registry.domain.names import parse_reference, parse_repository, parse_tag
from registry.errors import RequestInvalid
from registry.http import receive
from registry.http.conditions import matches
from registry.http.links import Links
from registry.http.router import Call, Route
from registry.services.manifests import ManifestService
from registry.services.pull import PullService

_MAX_TAGS = 100
_REFUSED = re.compile(r";\s*q=0(\.0*)?\s*(;|$)")
_SIGNING_PROGRAMS = ("cosign/", "notation/")
_MANIFESTS_UNDER_WAY = 64 * 1024 * 1024  # bytes, a process


class ManifestHandlers:
    """OCI distribution specification, "Pulling manifests", "Pushing Manifests", "Deleting Manifests"."""

    def __init__(self, pull: PullService, manifests: ManifestService, links: Links, body_timeout: float) -> None:
        self._pull = pull
        self._manifests = manifests
        self._links = links
        self._body_timeout = body_timeout
        self._budget = receive.Budget(_MANIFESTS_UNDER_WAY)

    def routes(self) -> list[Route]:
        template = "/v2/{name}/manifests/{reference}"
        return [
            Route("GET", template, "pull", self.get, "manifest"),
            Route("PUT", template, "push", self.put, "manifest"),
            Route("DELETE", template, "delete", self.delete, "manifest"),
        ]

    async def get(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        reference = parse_reference(call.parameters["reference"])
        unsigned = _may_read_unsigned(call, repository)
        manifest = await self._pull.manifest(repository, reference, unsigned=unsigned)
        negotiated = manifest.media_type in INDEX_TYPES and isinstance(reference, str)
        if negotiated:
            manifest = await self._pull.for_client(repository, manifest, _accepted(call.request), unsigned=unsigned)
        headers = _headers(manifest.digest, manifest.media_type).copy()
        if negotiated:
            headers["Vary"] = "Accept"
        if "If-None-Match" in call.request.headers and matches(call.request, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        return web.Response(body=manifest.content, headers=headers)

    async def put(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        reference = parse_reference(call.parameters["reference"])
        tags = tuple(dict.fromkeys(parse_tag(tag) for tag in call.request.query.getall("tag", ())))
        if len(tags) > _MAX_TAGS:
            raise RequestInvalid(f"at most {_MAX_TAGS} tags are set at once")
        with self._budget.spending() as take:
            content = await receive.whole(call, MAX_MANIFEST_SIZE, self._body_timeout, take)
            manifest = await self._manifests.put(repository, reference, tags, content, _content_type(call.request))
        headers: CIMultiDict[str] = CIMultiDict()
        headers["Location"] = self._links.manifest(repository, manifest.digest)
        headers["Docker-Content-Digest"] = str(manifest.digest)
        if manifest.subject is not None:
            headers["OCI-Subject"] = manifest.subject
        if tags:
            headers["OCI-Tag"] = ", ".join(tags)
        return web.Response(status=201, headers=headers)

    async def delete(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        await self._manifests.delete(repository, parse_reference(call.parameters["reference"]))
        return web.Response(status=202)


@lru_cache(maxsize=4096)
def _headers(digest: str, media_type: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            "Content-Type": media_type,
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
    )


def _may_read_unsigned(call: Call, repository: str) -> bool:
    """Whether a caller is one who pushes or signs, and so has to read what is not signed yet.

    Who shows a token that is for pushing has asked for that, which no client does in order to pull. Programs that sign
    read with a token for pulling, so they are told by their name, and by the account's right to push. (A signature
    protects the user's own hosts: there is nothing to gain by a false name.) Where there are no accounts HEAD is
    answered too: containerd and BuildKit ask so before they push a tag again, and pull nothing by it.
    """
    visitor = call.visitor
    signs = call.request.headers.get("User-Agent", "").startswith(_SIGNING_PROGRAMS)
    if visitor.is_open:
        return signs or call.request.method == "HEAD"
    if signs:
        return "push" in visitor.table.rights(visitor.principal, repository)
    return visitor.scopes is not None and visitor.may("push", repository)


def _accepted(request: web.BaseRequest) -> set[str]:
    """The media types of all Accept lines (docker sends six), without those that are refused by q=0."""
    lines = request.headers.getall("Accept", ())
    entries = [entry.strip().lower() for line in lines for entry in line.split(",")]
    return {entry.partition(";")[0].strip() for entry in entries if not _REFUSED.search(entry)} - {""}


def _content_type(request: web.BaseRequest) -> str | None:
    return request.headers.get("Content-Type", "").partition(";")[0].strip() or None
