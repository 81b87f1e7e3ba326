"""Taking over everything from a source: each manifest after what it needs, each thing once, and only what is new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from weakref import WeakValueDictionary

from registry.domain.digest import Digest
from registry.domain.names import parse_repository, parse_tag
from registry.errors import NameInvalid, TagInvalid
from registry.imports.ports import Body, DamagedError, NotThereError, Source, StoppedError, Target
from registry.imports.report import Kind, Report
from registry.imports.repository import RepositoryTaker

_REPOSITORIES_AT_ONCE = 4
_MANIFESTS_AT_ONCE = 16


class Taker:
    """Takes over everything that `source` has. `blobs`: how many of them are copied at the same time."""

    def __init__(self, source: Source, target: Target, report: Report, blobs: int) -> None:
        self._source = source
        self._target = target
        self._report = report
        self._repositories = asyncio.Semaphore(_REPOSITORIES_AT_ONCE)
        self._blobs = asyncio.Semaphore(blobs)
        self._reads = asyncio.Semaphore(_MANIFESTS_AT_ONCE)
        # A lock lasts as long as somebody holds it or waits for it.
        self._locks: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    async def run(self, wanted: Callable[[str], bool]) -> None:
        """Take every repository whose name is wanted; the report tells the rest, also why it ended early."""
        try:
            names = [name for name in await self._source.repositories() if wanted(name)]
            self._report.found = len(names)
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(self._repository(name))
        except* StoppedError as stopped:
            self._report.stopped = str(_first(stopped))

    async def _repository(self, name: str) -> None:
        async with self._repositories:
            try:
                parse_repository(name)
                tags = await self._tags(name)
                roots = [*tags, *await self._source.revisions(name)]
            except NameInvalid as error:
                self._report.problem(name, "", Kind.REFUSED, error.message)
            except DamagedError as error:
                self._report.problem(name, "", Kind.DAMAGED, error)
            else:
                await RepositoryTaker(
                    name, tags, self._source, self._target, self._report, self._reads, self._blob
                ).take(list(dict.fromkeys(roots)))
                self._report.repositories += 1

    async def _tags(self, name: str) -> dict[Digest, list[str]]:
        """The tags of each manifest that has some."""
        found: dict[Digest, list[str]] = {}
        tags = await self._source.tags(name)
        async with asyncio.TaskGroup() as group:
            resolving = [group.create_task(self._resolve(name, tag)) for tag in tags]
        for tag, digest in (task.result() for task in resolving):
            if digest is not None:
                found.setdefault(digest, []).append(tag)
        return found

    async def _resolve(self, name: str, tag: str) -> tuple[str, Digest | None]:
        try:
            parse_tag(tag)
            async with self._reads:
                return tag, await self._source.resolve(name, tag)
        except TagInvalid as error:
            self._report.problem(name, tag, Kind.REFUSED, error.message)
        except NotThereError as error:
            self._report.problem(name, tag, Kind.MISSING, error)
        except DamagedError as error:
            self._report.problem(name, tag, Kind.DAMAGED, error)
        return tag, None

    async def _blob(self, repository: str, digest: Digest) -> None:
        """Take a blob unless it is there; raises NotThereError, DamagedError.

        Repositories that share a blob take it one after the other: the second one finds it there.
        """
        lock = self._locks.setdefault(digest, asyncio.Lock())
        async with lock, self._blobs:
            if await self._target.has_blob(repository, digest):
                self._report.skipped_blobs += 1
                return
            original = await self._source.original(digest)
            read = partial(self._watched, repository, digest)
            taken = await self._target.put_blob(repository, digest, original, read)
        self._report.blobs += 1
        self._report.copied += taken.copied
        self._report.linked += taken.linked

    async def _watched(self, repository: str, digest: Digest) -> Body:
        async for chunks in self._source.read(repository, digest):
            self._report.streamed += sum(map(len, chunks))
            yield chunks


def _first(group: BaseExceptionGroup[StoppedError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
