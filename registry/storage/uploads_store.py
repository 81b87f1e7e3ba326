"""Uploads whose bytes are staged in an object store and whose state is in the database: any node goes on with them.

A session is held by one request at a time, for some seconds that are renewed while it runs. A node that dies lets
go by dying; one that was only slow finds its changes refused.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress

import structlog

from registry.domain.changes import BeginUpload, EndUpload, HoldUpload
from registry.domain.clock import Clock
from registry.domain.upload import UploadSession, UploadState, object_key
from registry.errors import BlobUploadUnknown, RegistryError, Unavailable, UploadBusy
from registry.ports import AbandonedUpload, Changes, SessionReader
from registry.storage.files import DataDirectory
from registry.storage.s3.client import S3Client
from registry.storage.store_upload import StoreUpload

log = structlog.get_logger(__name__)

HOLD_FOR = 15.0  # seconds
_RENEW_EVERY = 5.0  # seconds
_PAUSE = 0.05  # seconds


class StoreUploads:
    """UploadStore over an object store. `directory` is where parts are spooled on their way."""

    def __init__(
        self,
        client: S3Client,
        reader: SessionReader,
        changes: Changes,
        directory: DataDirectory,
        executor: Executor,
        clock: Clock,
        patience: float = HOLD_FOR + 1,
    ) -> None:
        """`patience`: seconds to wait for a session whose holder may have died."""
        self._client = client
        self._reader = reader
        self._changes = changes
        self._directory = directory
        self._executor = executor
        self._clock = clock
        self._patience = patience

    async def begin(self, repository: str, algorithm: str, opener: str = "") -> UploadState:
        self._directory.check_room()
        if self._client.is_down:
            raise Unavailable("the object store does not answer; try again later")
        key = object_key(uuid.uuid4().hex)
        upload_id = str(uuid.uuid4())
        session = UploadSession(upload_id, repository, algorithm, key, last_byte=self._clock(), opener=opener)
        await self._changes.submit(BeginUpload(session))
        return session.state

    async def state(self, repository: str, upload_id: str) -> UploadState:
        return (await self._session(repository, upload_id)).state

    async def _session(self, repository: str, upload_id: str) -> UploadSession:
        session = await self._reader.upload(upload_id)
        if session is None or session.repository != repository:
            raise BlobUploadUnknown("no such upload: it ended, was cancelled or expired", {"upload": upload_id[:64]})
        return session

    @asynccontextmanager
    async def open(self, repository: str, upload_id: str) -> AsyncIterator[StoreUpload]:
        upload = StoreUpload(
            await self._held(repository, upload_id),
            self._changes,
            self._client,
            self._directory,
            self._executor,
            self._clock,
            HOLD_FOR,
        )
        renewing = asyncio.create_task(_renew(upload))
        try:
            yield upload
        finally:
            renewing.cancel()
            with suppress(RegistryError):  # a hold that was lost, or cannot be given back now, ends by itself
                await upload.close()

    async def _held(self, repository: str, upload_id: str) -> UploadSession:
        """Take a session. One whose holder has died is waited for: the client that lost that node may be back already.

        Raises UploadBusy where the holder goes on holding it.
        """
        await self._session(repository, upload_id)
        holder, give_up = secrets.token_hex(8), time.monotonic() + self._patience
        while True:
            now = self._clock()
            try:
                await self._changes.submit(HoldUpload(upload_id, repository, holder, now, now + HOLD_FOR))
                return await self._session(repository, upload_id)
            except UploadBusy:
                if not await self._let_go_of(repository, upload_id, give_up):
                    raise

    async def _let_go_of(self, repository: str, upload_id: str, give_up: float) -> bool:
        """Wait until nobody holds a session; False where its holder renews the hold, or it takes too long."""
        first = await self._session(repository, upload_id)
        while time.monotonic() < give_up:
            found = await self._session(repository, upload_id)
            if not found.holder or found.held_until <= self._clock():
                return True
            if found.held_until > first.held_until:
                return False
            await asyncio.sleep(_PAUSE)
        return False

    async def abandoned(self, before: float) -> AsyncIterator[AbandonedUpload]:
        for found in await self._reader.idle_uploads(before):
            try:
                session = await self._held(found.repository, found.id)
            except (UploadBusy, BlobUploadUnknown):
                continue
            if session.last_byte >= before:
                await self._let_go(session)
                continue
            yield AbandonedUpload(session.id, None)
            with suppress(BlobUploadUnknown):
                await self._changes.submit(EndUpload(session.id, session.holder))

    async def _let_go(self, session: UploadSession) -> None:
        now = self._clock()
        with suppress(BlobUploadUnknown):
            await self._changes.submit(HoldUpload(session.id, session.repository, session.holder, now, now))

    async def active_repositories(self, since: float) -> frozenset[str]:
        return await self._reader.uploading_repositories(since)

    async def check(self) -> None:
        """Raises StorageFull, StorageFailure or Unavailable where no upload could be taken."""
        self._directory.check_room()
        await self._client.check()


async def _renew(upload: StoreUpload) -> None:
    while True:
        await asyncio.sleep(_RENEW_EVERY)
        try:
            await upload.keep()
        except RegistryError as error:  # a change of the session will be refused, and that tells the client
            log.warning("an upload could not be held on to", error=error.message, detail=error.detail)
