"""One upload into an object store: hash, spool, send parts while the client still sends, remember, publish."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import TypeVar

from registry.domain.changes import EndUpload, HoldUpload, LinkBlob, SaveUpload
from registry.domain.clock import Clock
from registry.domain.digest import Digest
from registry.domain.parts import least_part, part_size
from registry.domain.upload import StagedPart, UploadSession, UploadState
from registry.errors import BlobUploadUnknown, StorageFailure
from registry.ports import Changes
from registry.storage import hashing
from registry.storage.files import DataDirectory, in_thread
from registry.storage.s3.client import NoSuchMultipartError, NoSuchObjectError, S3Client
from registry.storage.spool import SpooledPart

_PARTS_UNDER_WAY = 2
_READ_SIZE = 1024 * 1024

T = TypeVar("T")


class StoreUpload:
    """UploadWriter over a session that is held. `session` is what the database has of it; the rest is not told yet."""

    def __init__(
        self,
        session: UploadSession,
        changes: Changes,
        client: S3Client,
        directory: DataDirectory,
        executor: Executor,
        clock: Clock,
        hold_for: float,
    ) -> None:
        self._holder = session.holder
        self._changes = changes
        self._client = client
        self._directory = directory
        self._executor = executor
        self._clock = clock
        self._hold_for = hold_for
        running = hashing.resume(session.algorithm, session.hash_state) if session.offset else None
        if running is None:  # nothing yet; or a state of another build, and staged parts cannot be read back
            session = replace(session, offset=0, parts=(), tail="", tail_size=0)
            running = hashing.start(session.algorithm)
        self.session = session
        self._hash = running
        self._algorithm = session.algorithm
        self._offset = self._hashed_to = session.offset
        self._parts: list[StagedPart] = list(session.parts)
        self._under_way: deque[asyncio.Task[StagedPart]] = deque()
        self._filling: SpooledPart | None = None
        self._published = ""
        self._ended = self._released = False

    @property
    def state(self) -> UploadState:
        return replace(self.session.state, algorithm=self._algorithm, offset=self._offset)

    async def write(self, chunks: Sequence[bytes]) -> None:
        await self._hold()
        rest: list[bytes | memoryview] = [chunk for chunk in chunks if chunk]
        while rest:
            part = await self._part()
            room = part_size(self._number) - part.size
            now, rest = _split(rest, room)
            await self._in_thread("spooling an upload", partial(self._take, part, now))
            if part.size == part_size(self._number):
                await self._send(part)

    def _take(self, part: SpooledPart, chunks: list[bytes | memoryview]) -> None:
        part.append(chunks)
        for chunk in chunks:
            if self._hashed_to == self._offset:
                self._hash.update(bytes(chunk) if isinstance(chunk, memoryview) else chunk)
                self._hashed_to += len(chunk)
            self._offset += len(chunk)

    async def checkpoint(self) -> UploadState:
        await self._hold()
        if self._filling is not None and self._filling.size >= least_part(self._number):
            await self._send(self._filling)
        await self._arrived()
        await self._hash_what_is_spooled()
        if self._hashed_to != self._offset:
            # Another algorithm came after parts had been sent, which cannot be read back now: stay where we were.
            return self.session.state
        tails, tail, tail_size = self.session.tails, self.session.tail, self.session.tail_size
        if self._filling is not None:
            tails, tail, tail_size = tails + 1, self.session.next_tail, self._filling.size
            await self._put(tail, self._filling)
        elif len(self._parts) > len(self.session.parts):  # the tail has become a part
            tail, tail_size = "", 0
        await self._give_back(
            replace(
                self.session,
                algorithm=self._algorithm,
                offset=self._offset,
                hash_state=self._hash.state,
                parts=tuple(self._parts),
                tails=tails,
                tail=tail,
                tail_size=tail_size,
                last_byte=self._clock(),
                holder="",
                held_until=0.0,
            )
        )
        return self.state

    def rehash_with(self, algorithm: str) -> None:
        if algorithm != self._algorithm:
            self._algorithm = algorithm
            self._hash, self._hashed_to = hashing.start(algorithm), 0

    async def digest(self) -> Digest:
        await self._hash_what_is_spooled()
        if self._hashed_to != self._offset:
            # What was sent in parts can be read only once it is an object.
            location = await self._object()
            self._hash = hashing.start(self._algorithm)
            async for chunk in self._read(location, self._offset):
                await self._in_thread("hashing an upload", partial(self._hash.update, chunk))
            self._hashed_to = self._offset
        return self._hash.digest()

    async def _hash_what_is_spooled(self) -> None:
        """Hash the bytes before a change of the algorithm, as long as all of them are here."""
        if self._hashed_to != self._offset and not self._parts and not self._under_way:
            part = await self._part()
            self._hash, self._hashed_to = hashing.start(self._algorithm), 0
            while self._hashed_to < part.size:
                chunk = await self._in_thread("reading an upload", partial(part.read, self._hashed_to, _READ_SIZE))
                self._hash.update(chunk)
                self._hashed_to += len(chunk)

    async def publish(self, digest: Digest) -> LinkBlob:
        location = await self._object()
        return LinkBlob(self.session.repository, str(digest), self._offset, location, self.session.id, self._holder)

    async def complete(self) -> None:
        self._ended = True

    async def discard(self) -> None:
        await self._hold()
        await self._changes.submit(EndUpload(self.session.id, self._holder))
        self._ended = True

    async def close(self) -> None:
        """Give the session back; what was not told to the client is forgotten."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._filling is not None:
            self._filling.close()
        if not self._ended and not self._released:
            await self._give_back(replace(self.session, last_byte=self._clock(), holder="", held_until=0.0))

    async def keep(self) -> None:
        """Go on holding the session while a request runs."""
        if not self._released:
            await self._changes.submit(self._holding())

    async def _hold(self) -> None:
        if self._released:
            await self._changes.submit(self._holding())
            self.session = replace(self.session, holder=self._holder)
            self._released = False

    def _holding(self) -> HoldUpload:
        now = self._clock()
        return HoldUpload(self.session.id, self.session.repository, self._holder, now, now + self._hold_for)

    async def _give_back(self, session: UploadSession) -> None:
        self._released = True  # from here on: a renewal that came after this would hold what is given back
        try:
            await self._save(session)
        except BaseException:
            self._released = False
            raise

    async def _save(self, session: UploadSession) -> None:
        await self._changes.submit(SaveUpload(session, self._holder))
        self.session = session

    @property
    def _number(self) -> int:
        """Of the part that is being filled."""
        return len(self._parts) + len(self._under_way) + 1

    async def _part(self) -> SpooledPart:
        """The part that is being filled; the first one begins with the tail that an earlier request left."""
        if self._filling is None:
            part = await self._in_thread("spooling an upload", lambda: SpooledPart(self._directory))
            self._filling = part
            if self._has_tail:
                async for chunk in self._read(self.session.tail, self.session.tail_size):
                    await self._in_thread("spooling an upload", partial(part.append, [chunk]))
        return self._filling

    @property
    def _has_tail(self) -> bool:
        """Whether the last bytes are in the tail alone."""
        sent = sum(part.size for part in self._parts) + self._bytes_under_way
        return self.session.tail_size > 0 and sent == self.session.offset - self.session.tail_size

    @property
    def _bytes_under_way(self) -> int:
        first = len(self._parts) + 1
        return sum(part_size(first + number) for number in range(len(self._under_way)))

    async def _send(self, part: SpooledPart) -> None:
        """Begin to send the part that was filled, once there is room for it on the way."""
        if not self.session.multipart:
            multipart = await self._client.create_multipart(self.session.key)
            await self._save(replace(self.session, multipart=multipart, held_until=self._clock() + self._hold_for))
        number, self._filling = self._number, None
        self._under_way.append(asyncio.create_task(self._sent(number, part)))
        while len(self._under_way) > _PARTS_UNDER_WAY:
            self._parts.append(await self._first_under_way())

    async def _first_under_way(self) -> StagedPart:
        part = await self._under_way[0]
        del self._under_way[0]
        return part

    async def _sent(self, number: int, part: SpooledPart) -> StagedPart:
        try:
            return await self._client.upload_part(self.session.key, self.session.multipart, number, part.body)
        except NoSuchMultipartError as error:
            raise self._lost() from error
        finally:
            part.close()

    async def _arrived(self) -> None:
        while self._under_way:
            self._parts.append(await self._first_under_way())

    async def _put(self, key: str, part: SpooledPart) -> None:
        await self._client.put(key, part.body)

    async def _object(self) -> str:
        """Make one object of all bytes; its key."""
        if not self._published:
            await self._hold()
            self._published = await self._one_object()
        return self._published

    async def _one_object(self) -> str:
        if not self._parts and not self._under_way:
            if self._filling is None and self._has_tail:
                return self.session.tail
            await self._put(self.session.next_tail, await self._part())
            return self.session.next_tail
        if self._filling is not None or self._has_tail:
            await self._send(await self._part())
        await self._arrived()
        try:
            await self._client.complete(self.session.key, self.session.multipart, self._parts, self._offset)
        except NoSuchMultipartError as error:
            raise self._lost() from error
        return self.session.key

    async def _read(self, key: str, size: int) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._client.read(key, 0, size, size):
                yield chunk
        except NoSuchObjectError as error:
            raise StorageFailure("the staged bytes of an upload are not in the object store any more") from error

    def _lost(self) -> BlobUploadUnknown:
        return BlobUploadUnknown("the upload is not in the object store any more", {"upload": self.session.id})

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        return await in_thread(self._executor, what, work)


def _split(chunks: list[bytes | memoryview], room: int) -> tuple[list[bytes | memoryview], list[bytes | memoryview]]:
    """The first `room` bytes, and what comes after them."""
    first: list[bytes | memoryview] = []
    for number, chunk in enumerate(chunks):
        if len(chunk) > room:
            view = memoryview(chunk)
            return [*first, view[:room]] if room else first, [view[room:], *chunks[number + 1 :]]
        first.append(chunk)
        room -= len(chunk)
    return first, []
