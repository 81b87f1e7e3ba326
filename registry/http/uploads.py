"""/v2/{name}/blobs/uploads/: sessions, chunks, mounts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from aiohttp import web

from registry.domain.digest import DEFAULT_ALGORITHM, Digest, check_algorithm
from registry.domain.names import parse_repository
from registry.domain.upload import ChunkRange, UploadState
from registry.errors import DigestInvalid
from registry.http import receive
from registry.http.links import Links
from registry.http.router import Call, Route
from registry.services.push import PushService

# A hint only: shorter chunks are taken too, but each costs a round trip and a write of the session's state.
_CHUNK_MIN_LENGTH = 64 * 1024


Uploading = Callable[[Call], AbstractContextManager[None]]
"""Entered while a client sends the bytes of a blob; raises TooManyRequests where it sends too many."""


class UploadHandlers:
    """OCI distribution specification, "Pushing blobs". `body_timeout`: seconds that a client may send nothing."""

    def __init__(self, push: PushService, links: Links, body_timeout: float, uploading: Uploading) -> None:
        self._push = push
        self._uploading = uploading
        self._links = links
        self._body_timeout = body_timeout

    def routes(self) -> list[Route]:
        start, session = "/v2/{name}/blobs/uploads/", "/v2/{name}/blobs/uploads/{upload}"
        return [
            Route("POST", start, "push", self.start, "uploads"),
            Route("POST", "/v2/{name}/blobs/uploads", "push", self.start, "uploads"),
            Route("PATCH", session, "push", self.append, "upload", outlives_token=True),
            Route("PUT", session, "push", self.finish, "upload", outlives_token=True),
            Route("GET", session, "push", self.status, "upload", outlives_token=True),
            Route("DELETE", session, "push", self.cancel, "upload", outlives_token=True),
        ]

    async def start(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        query = call.request.query
        algorithm = check_algorithm(query.get("digest-algorithm", DEFAULT_ALGORITHM))
        if "mount" in query:
            digest = Digest.parse(query["mount"])
            source = parse_repository(query["from"]) if query.get("from") else None
            if _may_mount(call, source) and await self._push.mount(repository, digest, source):
                return self._created(repository, digest)
            algorithm = digest.algorithm
        elif "digest" in query:
            digest = Digest.parse(query["digest"])
            algorithm = digest.algorithm
            if not receive.is_empty(call.request) or digest == Digest.of(b"", algorithm):
                body = receive.batches(call, self._body_timeout)
                with self._uploading(call):
                    await self._push.push_at_once(repository, digest, body)
                return self._created(repository, digest)
        state = await self._push.begin(repository, algorithm, call.visitor.name)
        return self._progress(state, 202)

    async def append(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        body = receive.batches(call, self._body_timeout)
        content_range, length = _chunk_range(call.request)
        with self._uploading(call):
            upload, visitor = call.parameters["upload"], call.visitor.name
            state = await self._push.append(repository, upload, body, content_range, length, visitor)
        return self._progress(state, 202)

    async def finish(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        given = call.request.query.get("digest")
        if given is None:
            raise DigestInvalid("the closing PUT needs the parameter digest")
        digest = Digest.parse(given)
        body = receive.batches(call, self._body_timeout)
        content_range, length = _chunk_range(call.request)
        with self._uploading(call):
            upload, visitor = call.parameters["upload"], call.visitor.name
            await self._push.finish(repository, upload, digest, body, content_range, length, visitor)
        return self._created(repository, digest)

    async def status(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        return self._progress(await self._push.status(repository, call.parameters["upload"], call.visitor.name), 204)

    async def cancel(self, call: Call) -> web.StreamResponse:
        repository = call.repository = parse_repository(call.parameters["name"])
        await self._push.cancel(repository, call.parameters["upload"], call.visitor.name)
        return web.Response(status=204)

    def _created(self, repository: str, digest: Digest) -> web.Response:
        headers = {"Location": self._links.blob(repository, digest), "Docker-Content-Digest": str(digest)}
        return web.Response(status=201, headers=headers)

    def _progress(self, state: UploadState, status: int) -> web.Response:
        headers = {
            "Location": self._links.upload(state.repository, state.id),
            "Range": f"0-{max(state.offset - 1, 0)}",
            "Docker-Upload-UUID": state.id,
            "OCI-Chunk-Min-Length": str(_CHUNK_MIN_LENGTH),
        }
        return web.Response(status=status, headers=headers)


def _may_mount(call: Call, source: str | None) -> bool:
    """A blob comes from where the visitor may pull; where no source is named, anybody could learn what is there."""
    return call.visitor.is_open if source is None else call.visitor.may("pull", source)


def _chunk_range(request: web.BaseRequest) -> tuple[ChunkRange | None, int | None]:
    header = request.headers.get("Content-Range")
    if header is None or receive.is_empty(request):
        return None, request.content_length
    return ChunkRange.parse(header), request.content_length
