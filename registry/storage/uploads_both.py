"""Uploads while blobs move from one kind of store to the other: each goes on where it began."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from registry.domain.upload import UploadState
from registry.errors import BlobUploadUnknown
from registry.ports import AbandonedUpload, UploadStore, UploadWriter


class UploadsOfBoth:
    """UploadStore that begins in `new`, and goes on in `old` with what began there."""

    def __init__(self, new: UploadStore, old: UploadStore) -> None:
        self._new = new
        self._old = old

    async def begin(self, repository: str, algorithm: str, opener: str = "") -> UploadState:
        return await self._new.begin(repository, algorithm, opener)

    async def state(self, repository: str, upload_id: str) -> UploadState:
        try:
            return await self._new.state(repository, upload_id)
        except BlobUploadUnknown:
            return await self._old.state(repository, upload_id)

    @asynccontextmanager
    async def open(self, repository: str, upload_id: str) -> AsyncIterator[UploadWriter]:
        async with AsyncExitStack() as held:
            try:
                upload = await held.enter_async_context(self._new.open(repository, upload_id))
            except BlobUploadUnknown:
                upload = await held.enter_async_context(self._old.open(repository, upload_id))
            yield upload

    async def abandoned(self, before: float) -> AsyncIterator[AbandonedUpload]:
        for store in (self._new, self._old):
            async for upload in store.abandoned(before):
                yield upload

    async def check(self) -> None:
        await self._new.check()

    async def active_repositories(self, since: float) -> frozenset[str]:
        return await self._new.active_repositories(since) | await self._old.active_repositories(since)
