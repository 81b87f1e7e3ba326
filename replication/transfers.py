"""Blobs on their way from above: each once at a time, verified before anybody sees it, gone on with after a break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from registry.domain.changes import CopyBlob, NoteTransfer, ShareBlob
from registry.domain.digest import Digest
from registry.domain.replica import Transfer
from registry.errors import BlobUploadUnknown
from registry.ports import BlobStore, Changes, Leases, MetadataReader, UploadStore, UploadWriter
from registry.ports.replication import ReplicaReader
from replication.client import NoBlobError, NoMoreError, UpstreamClient, UpstreamError

_BATCH = 1024 * 1024
_KEPT_EVERY = 16 * 1024 * 1024
"""Bytes after which it is noted how far a blob is, so that a killed slave goes on from there."""

Listener = Callable[[str, int], None]
"""Told the upload session that a blob comes into and how many bytes it has, whenever that changes."""


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


class Transfers:
    """One for a node. Whoever wants a blob that is on its way waits for it, and gets it without another fetch."""

    def __init__(self, client: UpstreamClient, parts: Parts) -> None:
        self._client = client
        self._parts = parts
        self._fetching: dict[str, asyncio.Lock] = {}
        self._under_way: dict[str, tuple[str, int]] = {}
        self._listeners: dict[str, list[Listener]] = {}

    @contextmanager
    def listening(self, digest: Digest, listener: Listener) -> Iterator[None]:
        """`listener` is told at once where the blob is on its way already."""
        listeners = self._listeners.setdefault(str(digest), [])
        listeners.append(listener)
        if str(digest) in self._under_way:
            listener(*self._under_way[str(digest)])
        try:
            yield
        finally:
            listeners.remove(listener)
            if not listeners:
                self._listeners.pop(str(digest), None)

    async def bring(self, repository: str, digest: Digest) -> None:
        """Make a blob one of a repository's; two that want the same one have it fetched once.

        Raises UpstreamError and of it DamagedError, and what the stores raise; what had come by then is kept.
        """
        lock = self._fetching.setdefault(str(digest), asyncio.Lock())
        try:
            async with lock:
                if await self._parts.reader.blob(repository, str(digest)) is not None:
                    return
                stored = await self._parts.reader.stored(str(digest))
                is_here = stored is not None and await self._parts.blobs.intact(stored)
                if not is_here and await self._transfer(repository, digest) == repository:
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
            try:
                await self._receive(upload, digest, repository)
                await self._finish(upload, digest, known)
            finally:
                self._under_way.pop(str(digest), None)
        return known.repository

    async def _receive(self, upload: UploadWriter, digest: Digest, repository: str) -> None:
        unkept = 0
        self._moved(upload, digest)
        try:
            async with aclosing(self._client.blob(str(digest), upload.state.offset, repository)) as chunks:
                async for batch in _batches(chunks):
                    await upload.write(batch)
                    self._moved(upload, digest)
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

    def _moved(self, upload: UploadWriter, digest: Digest) -> None:
        state = upload.state
        self._under_way[str(digest)] = state.id, state.offset
        for listener in self._listeners.get(str(digest), ()):
            listener(state.id, state.offset)

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
    try:
        async for chunk in chunks:
            batch.append(chunk)
            size += len(chunk)
            if size >= _BATCH:
                yield batch
                batch, size = [], 0
    except UpstreamError:  # what came before the break need not come again
        if batch:
            yield batch
        raise
    if batch:
        yield batch
