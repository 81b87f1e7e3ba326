"""Blobs from above: several at a time, each once, verified before anybody sees it, and gone on with after a break."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from registry.domain.changes import CopyBlob, NoteTransfer, ShareBlob
from registry.domain.digest import Digest
from registry.domain.replica import Transfer
from registry.errors import BlobUploadUnknown, RegistryError
from registry.ports import BlobStore, Changes, Leases, MetadataReader, UploadStore, UploadWriter
from registry.ports.replication import ReplicaReader
from replication.client import NoBlobError, NoMoreError, UpstreamClient, UpstreamError, pause
from replication.state import Wanted

log = structlog.get_logger(__name__)

_BATCH = 1024 * 1024
_KEPT_EVERY = 16 * 1024 * 1024
"""Bytes after which it is noted how far a blob is, so that a killed slave goes on from there."""


class DamagedError(UpstreamError):
    """What came has another digest."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What of the node a fetch works with."""

    replica: ReplicaReader
    reader: MetadataReader
    blobs: BlobStore
    uploads: UploadStore
    changes: Changes
    leases: Leases


@dataclass(order=True, slots=True)
class _Job:
    order: tuple[int, int]
    repository: str = field(compare=False)
    wanted: Wanted = field(compare=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.repository, self.wanted.digest


class Fetcher:
    """`at_once`: transfers at the same time. `arrived`: told of each repository that has got a blob."""

    def __init__(self, client: UpstreamClient, parts: Parts, at_once: int, arrived: Callable[[str], None]) -> None:
        self._client = client
        self._parts = parts
        self._at_once = at_once
        self._arrived = arrived
        self._jobs: list[_Job] = []
        self._known: dict[tuple[str, str], int] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._fetching: dict[str, asyncio.Lock] = {}
        self._more = asyncio.Condition()
        self._later: set[asyncio.Task[None]] = set()
        self.error = ""
        """What went wrong last, "" once something has come since."""

    @property
    def missing(self) -> int:
        """Bytes of all blobs that are wanted and not here."""
        return sum({digest: size for (_, digest), size in self._known.items()}.values())

    async def want(self, repository: str, wanted: Sequence[Wanted]) -> None:
        """The oldest change first, and of it the smallest blob: what is small can be shown soon."""
        async with self._more:
            for each in wanted:
                if (repository, each.digest) not in self._known:
                    self._known[repository, each.digest] = each.size
                    heapq.heappush(self._jobs, _Job((each.serial, each.size), repository, each))
            self._more.notify_all()

    async def run(self) -> None:
        """Until it is cancelled. It begins with nothing: what is lacking is wanted again."""
        self._jobs.clear()
        self._known.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            async with self._more:
                await self._more.wait_for(lambda: self._jobs)
                job = heapq.heappop(self._jobs)
            try:
                await self._fetch(job.repository, Digest.parse(job.wanted.digest))
            except (UpstreamError, RegistryError) as error:
                self._failed(job, error)
                continue
            self.error = ""
            self._failures.pop(job.key, None)
            self._known.pop(job.key, None)
            self._arrived(job.repository)

    def _failed(self, job: _Job, error: UpstreamError | RegistryError) -> None:
        self._failures[job.key] += 1
        self.error = f"{job.wanted.digest[:19]}: {error}"
        log.warning(
            "a blob could not be fetched", digest=job.wanted.digest, error=str(error), tries=self._failures[job.key]
        )
        task = asyncio.create_task(self._again(job))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _again(self, job: _Job) -> None:
        """Look whether it is still wanted: what needs it may have been deleted above."""
        await pause(self._failures[job.key])
        self._known.pop(job.key, None)
        self._arrived(job.repository)

    async def _fetch(self, repository: str, digest: Digest) -> None:
        """Make a blob one of a repository's; two repositories that want the same one have it fetched once."""
        lock = self._fetching.setdefault(str(digest), asyncio.Lock())
        try:
            async with lock:
                if await self._parts.reader.blob(repository, str(digest)) is not None:
                    return
                stored = await self._parts.reader.stored(str(digest))
                if stored is None or not await self._parts.blobs.intact(stored):
                    repository_of_transfer = await self._transfer(repository, digest)
                    if repository_of_transfer == repository:
                        return
                await self._parts.changes.submit(ShareBlob(repository, str(digest)))
        finally:
            if not lock.locked():
                self._fetching.pop(str(digest), None)

    async def _transfer(self, repository: str, digest: Digest) -> str:
        """Fetch what is lacking of a blob; returns the repository that has it then."""
        known = await self._parts.replica.transfer(str(digest))
        if known is not None:
            try:
                await self._parts.uploads.state(known.repository, known.upload)
            except BlobUploadUnknown:
                known = None
        if known is None:
            state = await self._parts.uploads.begin(repository, digest.algorithm)
            known = Transfer(str(digest), repository, state.id)
            await self._parts.changes.submit(NoteTransfer(known))
        async with self._parts.uploads.open(known.repository, known.upload) as upload:
            await self._receive(upload, digest)
            await self._finish(upload, digest, known)
        return known.repository

    async def _receive(self, upload: UploadWriter, digest: Digest) -> None:
        unkept = 0
        try:
            async with aclosing(self._client.blob(str(digest), upload.state.offset)) as chunks:
                async for batch in _batches(chunks):
                    await upload.write(batch)
                    unkept += sum(map(len, batch))
                    if unkept >= _KEPT_EVERY:
                        unkept = 0
                        await upload.checkpoint()
        except NoMoreError:
            return  # all of it had come, and then we were killed; whether it is right is looked at next
        except NoBlobError:
            raise
        except UpstreamError:
            await upload.checkpoint()
            raise

    async def _finish(self, upload: UploadWriter, digest: Digest, transfer: Transfer) -> None:
        found = await upload.digest()
        ended = NoteTransfer(Transfer(str(digest), "", ""))
        if found != digest:
            await upload.discard()
            await self._parts.changes.submit(ended)
            raise DamagedError(f"the bytes that came have the digest {found}")
        async with self._parts.leases.hold(digest):
            await self._parts.changes.submit(CopyBlob(await upload.publish(digest)))
        await upload.complete()
        await self._parts.changes.submit(ended)


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Chunks together, so that each write is worth the way to a thread."""
    batch: list[bytes] = []
    size = 0
    async for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
