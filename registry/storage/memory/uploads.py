"""Uploads that have begun, in a dictionary. They do not outlive their process, unlike those in files."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from registry.domain.changes import LinkBlob
from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.domain.upload import UploadState
from registry.errors import BlobUploadUnknown, StorageFull, UploadBusy
from registry.ports import AbandonedUpload
from registry.storage.memory.blobs import MemoryBlobs


@dataclass(slots=True)
class _Session:
    """`content`: the bytes up to the offset that the client was told."""

    repository: str
    algorithm: str
    last_byte: float
    content: bytes = b""
    published: Digest | None = None
    held: bool = False
    opener: str = ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.held = True
        try:
            yield
        finally:
            self.held = False


class MemoryUploads:
    """UploadStore whose blobs go to `blobs`. `room`: bytes that uploads may take before the disk counts as full."""

    def __init__(self, blobs: MemoryBlobs, clock: Clock, room: int = 2**40) -> None:
        self.blobs = blobs
        self.clock = clock
        self.room = room
        self.sessions: dict[str, _Session] = {}

    async def begin(self, repository: str, algorithm: str, opener: str = "") -> UploadState:
        self.check_room(0)
        upload_id = str(uuid.uuid4())
        self.sessions[upload_id] = _Session(repository, algorithm, self.clock(), opener=opener)
        return UploadState(upload_id, repository, algorithm, 0, opener)

    async def state(self, repository: str, upload_id: str) -> UploadState:
        session = self._session(repository, upload_id)
        return UploadState(upload_id, repository, session.algorithm, len(session.content), session.opener)

    @asynccontextmanager
    async def open(self, repository: str, upload_id: str) -> AsyncIterator[MemoryUpload]:
        session = self._session(repository, upload_id)
        if session.held:
            raise UploadBusy("another request is writing to this upload", {"upload": upload_id})
        with session.alone():
            yield MemoryUpload(self, upload_id, session)

    async def abandoned(self, before: float) -> AsyncIterator[AbandonedUpload]:
        for upload_id, session in list(self.sessions.items()):
            if session.held or session.last_byte >= before or upload_id not in self.sessions:
                continue
            with session.alone():
                yield AbandonedUpload(upload_id, session.published)
                self.sessions.pop(upload_id, None)

    async def check(self) -> None:
        self.check_room(0)

    async def active_repositories(self, since: float) -> frozenset[str]:
        return frozenset(
            session.repository for session in self.sessions.values() if session.held or session.last_byte >= since
        )

    def check_room(self, size: int) -> None:
        """Raises StorageFull where `size` more bytes find no room."""
        if self.room <= size:
            raise StorageFull("the registry's disk is full: free some space or remove images, then push again")

    def _session(self, repository: str, upload_id: str) -> _Session:
        session = self.sessions.get(upload_id)
        if session is None or session.repository != repository or session.published is not None:
            raise BlobUploadUnknown("no such upload: it ended, was cancelled or expired", {"upload": upload_id[:64]})
        return session


class MemoryUpload:
    """UploadWriter; what was not told by a checkpoint is forgotten with it."""

    def __init__(self, store: MemoryUploads, upload_id: str, session: _Session) -> None:
        self._store = store
        self._id = upload_id
        self._session = session
        self._algorithm = session.algorithm
        self._content = bytearray(session.content)

    @property
    def state(self) -> UploadState:
        session = self._session
        return UploadState(self._id, session.repository, self._algorithm, len(self._content), session.opener)

    async def write(self, chunks: Sequence[bytes]) -> None:
        size = sum(map(len, chunks))
        self._store.check_room(size)
        self._store.room -= size
        for chunk in chunks:
            self._content += chunk
        self._session.last_byte = self._store.clock()

    async def checkpoint(self) -> UploadState:
        self._session.content, self._session.algorithm = bytes(self._content), self._algorithm
        return self.state

    def rehash_with(self, algorithm: str) -> None:
        self._algorithm = algorithm

    async def digest(self) -> Digest:
        return Digest.of(bytes(self._content), self._algorithm)

    async def publish(self, digest: Digest) -> LinkBlob:
        link = LinkBlob(self._session.repository, str(digest), len(self._content))
        self._store.blobs.contents[digest] = bytes(self._content)
        self._session.content, self._session.published = b"", digest
        return link

    async def complete(self) -> None:
        self._store.sessions.pop(self._id, None)

    async def discard(self) -> None:
        if self._session.published is None:
            self._store.sessions.pop(self._id, None)
