"""The storage of docker-registry 2.x: what its folders mean.

blobs/ALGORITHM/XX/HEX/data                            every blob and manifest
repositories/NAME/_manifests/revisions/ALGORITHM/HEX/link   the manifests of a repository
repositories/NAME/_manifests/tags/TAG/current/link          a digest
repositories/NAME/_layers/ALGORITHM/HEX/link                blobs that were pushed; manifests say which are needed
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Protocol, TypeVar

from registry.domain.digest import ALGORITHMS, Digest
from registry.domain.manifest import MAX_MANIFEST_SIZE, SCHEMA_1
from registry.errors import DigestInvalid
from registry.imports.ports import Body, DamagedError, NotThereError, RawManifest, StoppedError
from registry.ports import Original

T = TypeVar("T")

ROOT = "docker/registry/v2"
_MOST_OF_A_LINK = 1024
_READ_SIZE = 1024 * 1024


class Readable(Protocol):
    """An open file."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class TreeFiles(Protocol):
    """Files by their path below the root, read in threads. All raise FileNotFoundError and other OSErrors."""

    def folders(self, path: str) -> Sequence[str]:
        """The names of the folders directly in a folder; none where it does not exist."""
        ...

    def holds_files(self, path: str) -> bool:
        """Whether there is a file anywhere below a folder: what is deleted may leave empty ones."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def open(self, path: str) -> Readable: ...

    def original(self, path: str) -> Original:
        """The file or object itself."""
        ...


class TreeSource:
    """Source over such a tree."""

    def __init__(self, files: TreeFiles, threads: int) -> None:
        self._files = files
        self._executor = ThreadPoolExecutor(threads, "source")

    async def close(self) -> None:
        self._executor.shutdown()

    async def repositories(self) -> Sequence[str]:
        try:
            return await self._in_thread(lambda: sorted(self._below("")))
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise StoppedError(f"the storage cannot be read: {error.strerror or error}{where}") from error

    def _below(self, name: str) -> Iterator[str]:
        """Every repository in a folder: names have slashes, and a repository may lie below another one."""
        waiting = [name]
        while waiting:
            folder = waiting.pop()
            names = self._files.folders(f"repositories/{folder}".rstrip("/"))
            if "_manifests" in names:
                yield folder
            waiting += [f"{folder}/{below}".lstrip("/") for below in names if not below.startswith("_")]

    async def tags(self, repository: str) -> Sequence[str]:
        return await self._in_thread(lambda: sorted(self._list(f"repositories/{repository}/_manifests/tags")))

    async def resolve(self, repository: str, tag: str) -> Digest | None:
        folder = f"repositories/{repository}/_manifests/tags/{tag}"

        def read() -> Digest | None:
            try:
                return self._link(f"{folder}/current/link", "the tag")
            except NotThereError:
                if self._files.holds_files(folder):
                    raise
                return None

        return await self._in_thread(read)

    async def revisions(self, repository: str) -> Sequence[Digest]:
        def read() -> list[Digest]:
            folder = f"repositories/{repository}/_manifests/revisions"
            return [
                Digest(algorithm, name)
                for algorithm in ALGORITHMS
                for name in sorted(self._list(f"{folder}/{algorithm}"))
                if self._is_there(f"{folder}/{algorithm}/{name}/link")
            ]

        return await self._in_thread(read)

    async def manifest(self, repository: str, digest: Digest) -> RawManifest:
        revision = f"repositories/{repository}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"

        def read() -> RawManifest:
            if not self._is_there(revision):
                raise NotThereError("the repository does not have this manifest (any more)")
            content = self._content(_path(digest), MAX_MANIFEST_SIZE + 1, "the manifest")
            if len(content) > MAX_MANIFEST_SIZE:
                raise DamagedError("it is larger than a manifest can be")
            if Digest.of(content, digest.algorithm) != digest:
                raise DamagedError("its bytes do not have its digest")
            return RawManifest(digest, _media_type(content), content)

        return await self._in_thread(read)

    async def referrers(self, _repository: str, _digest: Digest) -> Sequence[Digest]:
        return ()

    async def original(self, digest: Digest) -> Original:
        return self._files.original(_path(digest))

    async def read(self, _repository: str, digest: Digest) -> Body:
        try:
            file = await self._in_thread(lambda: self._files.open(_path(digest)))
            try:
                while chunk := await self._in_thread(lambda: file.read(_READ_SIZE)):
                    yield [chunk]
            finally:
                await self._in_thread(file.close)
        except OSError as error:
            raise _translate(error, "the blob") from error

    def _list(self, folder: str) -> Sequence[str]:
        try:
            return self._files.folders(folder)
        except OSError as error:
            raise _translate(error, "its folder") from error

    def _is_there(self, path: str) -> bool:
        try:
            return self._files.exists(path)
        except OSError as error:
            raise _translate(error, "a link") from error

    def _link(self, path: str, what: str) -> Digest:
        text = self._content(path, _MOST_OF_A_LINK, what)
        try:
            return Digest.parse(text.decode("ascii", "replace").strip())
        except DigestInvalid as error:
            raise DamagedError(f"{what} has no digest in its link") from error

    def _content(self, path: str, most: int, what: str) -> bytes:
        try:
            with closing(self._files.open(path)) as file:
                return file.read(most)
        except OSError as error:
            raise _translate(error, what) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def _translate(error: OSError, what: str) -> Exception:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotThereError(f"{what} is not in the storage")
    return DamagedError(f"{what} cannot be read: {error.strerror or error}")


def _media_type(content: bytes) -> str | None:
    """Only of schema 1, which does not say it itself; all others do, or have a form that says it."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):  # whoever reads it as a manifest refuses it
        return None
    old = isinstance(document, dict) and document.get("schemaVersion") == 1
    return SCHEMA_1[1] if old else None
