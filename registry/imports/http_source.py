"""A running registry as a source (OCI distribution specification, "Pull" and "Content Discovery")."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from aiohttp import ClientResponse
from yarl import URL

from registry.domain.digest import Digest
from registry.domain.manifest import IMAGE_TYPES, INDEX_TYPES, MAX_MANIFEST_SIZE, OCI_ARTIFACT, SCHEMA_1
from registry.errors import DigestInvalid
from registry.imports.http_session import BrokenError, RegistrySession, SilentError, check
from registry.imports.ports import Body, DamagedError, NotThereError, RawManifest, StoppedError

# All by name: docker-registry converts what a client does not name.
_ACCEPT = ", ".join((*IMAGE_TYPES, *INDEX_TYPES, OCI_ARTIFACT, *SCHEMA_1, "*/*;q=0.1"))
_CATALOG = "_catalog"
_MOST_OF_A_LIST = 64 * 1024 * 1024  # some registries give all their repositories on one page
_BREAKS = 5
_TRIES = 4
_FIRST_TRIES = 2  # who never answered so far is not worth much waiting
_PAUSE = 0.5  # seconds


class HttpSource:
    """Source over HTTP."""

    def __init__(self, session: RegistrySession) -> None:
        self._session = session
        self._has_referrers = True

    async def close(self) -> None:
        await self._session.close()

    async def repositories(self) -> Sequence[str]:
        try:
            return [name async for name in self._names(f"/v2/{_CATALOG}", _CATALOG, "repositories")]
        except (NotThereError, DamagedError) as error:
            raise StoppedError(f"{self._session.url} does not list its repositories: {error}") from error

    async def tags(self, repository: str) -> Sequence[str]:
        try:
            return [tag async for tag in self._names(f"/v2/{repository}/tags/list", repository, "tags")]
        except NotThereError:  # docker-registry lists repositories whose manifests are all deleted
            return []

    async def resolve(self, repository: str, tag: str) -> Digest:
        path = f"/v2/{repository}/manifests/{tag}"
        async with self._session.open("HEAD", path, area=repository, headers={"Accept": _ACCEPT}) as response:
            await check(response, "the tag", 200)
            named = response.headers.get("Docker-Content-Digest", "")
        try:
            return Digest.parse(named)
        except DigestInvalid:
            content, _ = await self._manifest(repository, tag)
            return Digest.of(content)

    async def revisions(self, _repository: str) -> Sequence[Digest]:
        return ()

    async def manifest(self, repository: str, digest: Digest) -> RawManifest:
        content, media_type = await self._manifest(repository, str(digest))
        if Digest.of(content, digest.algorithm) != digest:
            raise DamagedError("its bytes do not have its digest")
        return RawManifest(digest, media_type, content)

    async def _manifest(self, repository: str, reference: str) -> tuple[bytes, str | None]:
        path = f"/v2/{repository}/manifests/{reference}"
        async with self._session.open("GET", path, area=repository, headers={"Accept": _ACCEPT}) as response:
            await check(response, "the manifest", 200)
            content = await _whole(response, MAX_MANIFEST_SIZE, "a manifest")
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return content, media_type or None

    async def referrers(self, repository: str, digest: Digest) -> Sequence[Digest]:
        if not self._has_referrers:
            return ()
        path: str | None = f"/v2/{repository}/referrers/{digest}"
        found: list[Digest] = []
        seen: set[str] = set()
        while path is not None and path not in seen:  # some lists lead back to a page that was read
            seen.add(path)
            async with self._session.open("GET", path, area=repository) as response:
                if response.status != 200:  # a registry that has this API answers 200 also where there is nothing
                    self._has_referrers = bool(found)
                    return found
                document, path = await _document(response), _next(response)
            entries = document.get("manifests")
            found += [_digest(entry) for entry in (entries if isinstance(entries, list) else [])]
        return found

    async def original(self, _digest: Digest) -> None:
        return None

    async def read(self, repository: str, digest: Digest) -> Body:
        """Goes on after a break where it was; `_BREAKS` without a byte between them are too many."""
        position, breaks = 0, 0
        while True:
            try:
                async with aclosing(self._read_from(repository, digest, position)) as chunks:
                    async for chunk in chunks:
                        position, breaks = position + len(chunk), 0
                        yield [chunk]
                return
            except SilentError:
                raise
            except BrokenError:
                breaks += 1
                if breaks == _BREAKS:
                    raise
                await asyncio.sleep(_PAUSE * breaks)

    async def _read_from(self, repository: str, digest: Digest, start: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` to the end; raises BrokenError where the answer ends before."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        path = f"/v2/{repository}/blobs/{digest}"
        async with self._session.open("GET", path, area=repository, headers=headers) as response:
            await check(response, "the blob", 206 if start else 200, 200)
            behind = start if response.status == 200 else 0  # a registry without ranges gives all of it again
            # Not by chunks of a size: the client library would hold as much back, and a break loses what it holds.
            async for chunk in response.content.iter_any():
                wanted = chunk[behind:]
                behind -= len(chunk) - len(wanted)
                if wanted:
                    yield wanted

    async def _names(self, start: str, area: str, key: str) -> AsyncIterator[str]:
        path: str | None = start
        seen: set[str] = set()
        while path is not None and path not in seen:  # some lists lead back to a page that was read
            seen.add(path)
            tries = _FIRST_TRIES if path == f"/v2/{_CATALOG}" else _TRIES
            async with self._session.open("GET", path, area=area, tries=tries) as response:
                await check(response, "the list", 200)
                document, path = await _document(response), _next(response)
            names = document.get(key)
            for name in names if isinstance(names, list) else []:
                yield str(name)


async def _whole(response: ClientResponse, most: int, what: str) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > most:
            raise DamagedError(f"it is larger than {what} can be")
    return bytes(content)


async def _document(response: ClientResponse) -> dict[str, object]:
    text = await _whole(response, _MOST_OF_A_LIST, "a page of a list")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DamagedError(f"the registry's answer is no JSON object: {_start_of(text)}")
    return document


def _start_of(text: bytes) -> str:
    return " ".join(text[:200].decode("utf-8", "replace").split())


def _digest(entry: object) -> Digest:
    try:
        return Digest.parse(str(entry.get("digest")) if isinstance(entry, dict) else "")
    except DigestInvalid as error:
        raise DamagedError("the list of its referrers has an entry without a digest") from error


def _next(response: ClientResponse) -> str | None:
    """The next page, on the same registry, whatever host it says."""
    link = response.links.get("next")
    url = link.get("url") if link is not None else None
    return url.raw_path_qs if isinstance(url, URL) else None
