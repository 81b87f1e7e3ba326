"""One repository on its way: a walk from its tags and revisions down to the blobs, and up again with the manifests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from registry.domain.digest import Digest
from registry.domain.manifest import SCHEMA_1, Manifest, RefKind, parse
from registry.errors import DigestInvalid, ManifestInvalid
from registry.imports.ports import DamagedError, NotThereError, RawManifest, Source, Target
from registry.imports.report import Kind, Report

_ROOTS_AT_ONCE = 64

TakeBlob = Callable[[str, Digest], Awaitable[None]]
"""Raises NotThereError, DamagedError."""


class RepositoryTaker:
    """Takes over one repository. `tags`: of each manifest that has some. `reads`: bounds how many manifests are read or
    put at the same time, over all repositories."""

    def __init__(
        self,
        name: str,
        tags: Mapping[Digest, Sequence[str]],
        source: Source,
        target: Target,
        report: Report,
        reads: asyncio.Semaphore,
        take_blob: TakeBlob,
    ) -> None:
        self._name = name
        self._tags = tags
        self._source = source
        self._target = target
        self._report = report
        self._reads = reads
        self._take_blob = take_blob
        self._under_way: dict[tuple[Digest, bool], asyncio.Task[bool]] = {}
        self._referrers: list[Digest] = []
        self._absent: dict[str, NotThereError] = {}
        self._group = asyncio.TaskGroup()

    async def take(self, roots: Sequence[Digest]) -> None:
        """Take these manifests with all that they need, then their referrers, and so on."""
        while roots:
            for start in range(0, len(roots), _ROOTS_AT_ONCE):
                async with asyncio.TaskGroup() as self._group:
                    for digest in roots[start : start + _ROOTS_AT_ONCE]:
                        _ = self._manifest(digest)
            roots = [digest for digest in dict.fromkeys(self._referrers) if (digest, True) not in self._under_way]
            self._referrers = []

    def _manifest(self, digest: Digest) -> asyncio.Task[bool]:
        """The one task that takes a manifest. None waits for itself: nothing contains its own digest."""
        key = (digest, True)
        if key not in self._under_way:
            self._under_way[key] = self._group.create_task(self._take_manifest(digest))
        return self._under_way[key]

    def _blob(self, digest: Digest) -> asyncio.Task[bool]:
        key = (digest, False)
        if key not in self._under_way:
            self._under_way[key] = self._group.create_task(self._take_layer(digest))
        return self._under_way[key]

    async def _take_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is in the target by now."""
        try:
            async with self._reads:
                raw = await self._source.manifest(self._name, digest)
            manifest = _parsed(raw)
        except NotThereError as error:
            return self._failed(digest, Kind.MISSING, error)
        except DamagedError as error:
            return self._failed(digest, Kind.DAMAGED, error)
        except ManifestInvalid as error:
            return self._failed(digest, Kind.REFUSED, error.message)
        lacking = await self._parts(manifest)
        if lacking is not None:
            return self._failed(digest, Kind.INCOMPLETE, f"it needs {lacking}, which could not be taken")
        try:
            async with self._reads:
                await self._put(manifest)
                self._referrers += await self._source.referrers(self._name, digest)
        except DamagedError as error:
            return self._failed(digest, Kind.REFUSED, error)
        return True

    async def _parts(self, manifest: Manifest) -> str | None:
        """Take all that a manifest refers to; the first thing that it needs and that cannot be had."""
        tasks = list(self._tasks(manifest))
        if tasks:
            await asyncio.wait([task for _, _, task in tasks])
        for text, kind, task in tasks:
            if kind in (RefKind.BLOB, RefKind.MANIFEST) and not task.result():
                if text in self._absent:
                    self._report.problem(self._name, text, Kind.MISSING, self._absent[text])
                return text
        return None

    def _tasks(self, manifest: Manifest) -> Iterator[tuple[str, RefKind, asyncio.Task[bool]]]:
        for text, kind in manifest.refs:
            try:
                digest = Digest.parse(text)
            except DigestInvalid:  # of an unknown kind of manifest: what looked like a descriptor is none
                continue
            if kind is RefKind.OPTIONAL_MANIFEST:
                continue  # nobody has to have it; where the source lists it, it comes by itself
            yield text, kind, self._manifest(digest) if kind is RefKind.MANIFEST else self._blob(digest)

    async def _take_layer(self, digest: Digest) -> bool:
        try:
            await self._take_blob(self._name, digest)
        except NotThereError as error:  # told with the manifest that needs it; a foreign layer need not be anywhere
            self._absent[str(digest)] = error
            return False
        except DamagedError as error:
            return self._failed(digest, Kind.DAMAGED, error)
        return True

    async def _put(self, manifest: Manifest) -> None:
        """Store a manifest and its tags where they are not as they should be."""
        tags, digest = self._tags.get(manifest.digest, ()), str(manifest.digest)
        moved = [tag for tag in tags if await self._target.resolve(self._name, tag) != digest]
        there = await self._target.media_type(self._name, manifest.digest) == manifest.media_type
        if not there or moved:
            await self._target.put_manifest(self._name, manifest, moved)
        self._report.manifests += not there
        self._report.skipped_manifests += there
        self._report.tags += len(moved)
        self._report.skipped_tags += len(tags) - len(moved)

    def _failed(self, digest: Digest, kind: Kind, reason: object) -> bool:
        self._report.problem(self._name, digest, kind, reason)
        for tag in self._tags.get(digest, ()):
            self._report.problem(self._name, tag, kind, f"it points at {digest}: {reason}")
        return False


def _parsed(raw: RawManifest) -> Manifest:
    """Read a manifest; raises ManifestInvalid."""
    if raw.media_type in SCHEMA_1:
        raise ManifestInvalid("Docker schema 1 is not taken: pull the image with an old docker and push it again")
    return parse(raw.content, raw.media_type, raw.digest.algorithm)
