"""A running registry as the target (OCI distribution specification, "Push")."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlencode

from aiohttp import ClientResponse
from yarl import URL

from registry.domain.digest import Digest
from registry.domain.manifest import Manifest
from registry.errors import StartupError
from registry.imports.http_session import BrokenError, RegistrySession, error_text
from registry.imports.ports import Body, DamagedError, NotThereError, StoppedError, Taken
from registry.ports import Original

_TRIES = 3
_TAGS_AT_ONCE = 100


class HttpTarget:
    """Target over HTTP; tags are set by the parameter `tag`, which Shoal knows."""

    def __init__(self, session: RegistrySession) -> None:
        self._session = session

    async def close(self) -> None:
        await self._session.close()

    async def check(self) -> None:
        """Raises StartupError where no registry answers."""
        try:
            async with self._session.open("GET", "/v2/", tries=1) as response:
                status = response.status
        except BrokenError as error:
            raise StartupError(f"{error}; name the address of a running Shoal with --server") from error
        if status != 200:
            raise StartupError(f"{self._session.url}/v2/ answers {status}: name the address of a Shoal with --server")

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        async with self._session.open("HEAD", f"/v2/{repository}/blobs/{digest}", area=repository) as response:
            return response.status == 200

    async def put_blob(
        self, repository: str, digest: Digest, _original: Original | None, read: Callable[[], Body]
    ) -> Taken:
        for left in reversed(range(_TRIES)):
            try:
                return await self._put_blob(repository, digest, read)
            except BrokenError:
                if not left:
                    raise
        raise AssertionError

    async def _put_blob(self, repository: str, digest: Digest, read: Callable[[], Body]) -> Taken:
        path = f"/v2/{repository}/blobs/uploads/?mount={digest}"
        async with self._session.open("POST", path, area=repository) as response:
            if response.status == 201:
                return Taken()
            await _check(response, 202)
            location = URL(response.headers.get("Location", ""))
        sending = _Sending(read)
        address = location.update_query({"digest": str(digest)}).raw_path_qs
        try:
            # One try alone: what a broken one has sent would come before what the next one sends.
            async with self._session.open(
                "PUT", address, area=repository, content=sending.chunks, tries=1,
                headers={"Content-Type": "application/octet-stream"},
            ) as response:  # fmt: skip
                await _check(response, 201)
        except (BrokenError, DamagedError):
            with suppress(StoppedError):
                async with self._session.open("DELETE", location.raw_path_qs, area=repository, tries=1):
                    pass
            if sending.failure is not None:
                raise sending.failure from None
            raise
        return Taken(copied=sending.size)

    async def media_type(self, repository: str, digest: Digest) -> str | None:
        response = await self._head(repository, str(digest))
        return response.headers.get("Content-Type") if response is not None else None

    async def resolve(self, repository: str, tag: str) -> str | None:
        response = await self._head(repository, tag)
        return response.headers.get("Docker-Content-Digest") if response is not None else None

    async def _head(self, repository: str, reference: str) -> ClientResponse | None:
        """The head of a manifest; what it says stays readable."""
        headers = {"Accept": "*/*"}
        path = f"/v2/{repository}/manifests/{reference}"
        async with self._session.open("HEAD", path, area=repository, headers=headers) as response:
            return response if response.status == 200 else None

    async def put_manifest(self, repository: str, manifest: Manifest, tags: Sequence[str]) -> None:
        headers = {"Content-Type": manifest.media_type}
        for start in range(0, max(len(tags), 1), _TAGS_AT_ONCE):
            query = urlencode([("tag", tag) for tag in tags[start : start + _TAGS_AT_ONCE]])
            path = f"/v2/{repository}/manifests/{manifest.digest}{'?' if query else ''}{query}"
            async with self._session.open(
                "PUT", path, area=repository, headers=headers, content=manifest.content
            ) as response:
                await _check(response, 201)
                if query and "OCI-Tag" not in response.headers:
                    raise StoppedError(f"{self._session.url} does not set tags like Shoal does: is it one?")


class _Sending:
    """A body on its way, and what went wrong at its source: the client library would tell that as its own error."""

    def __init__(self, read: Callable[[], Body]) -> None:
        self._read = read
        self.size = 0
        self.failure: DamagedError | NotThereError | StoppedError | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunks in self._read():
                for chunk in chunks:
                    self.size += len(chunk)
                    yield chunk
        except (DamagedError, NotThereError, StoppedError) as error:
            self.failure = error
            raise


async def _check(response: ClientResponse, wanted: int) -> None:
    if response.status == wanted:
        return
    said = await error_text(response)
    if response.status >= 500 or response.status in (401, 403):
        raise StoppedError(f"the server takes nothing: {said}")
    raise DamagedError("its bytes do not have its digest" if "DIGEST_INVALID" in said else said)
