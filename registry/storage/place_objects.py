"""Placing blobs from elsewhere as objects of a bucket, each verified before it can be seen."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import closing
from functools import partial

from registry.domain.parts import part_size
from registry.domain.upload import StagedPart, check_digest, object_key
from registry.errors import SizeInvalid, Unavailable
from registry.ports import StoredBlob
from registry.storage import hashing
from registry.storage.files import DataDirectory, in_thread, translated
from registry.storage.s3.client import NoSuchMultipartError, S3Client
from registry.storage.spool import SpooledPart


class ObjectPlacer:
    """Placer of objects in a bucket; parts are spooled in the data directory."""

    def __init__(self, client: S3Client, directory: DataDirectory, executor: Executor) -> None:
        self._client = client
        self._directory = directory
        self._executor = executor

    def new_location(self, name: str) -> str:
        return object_key(name)

    async def check(self) -> None:
        key = f"checks/{uuid.uuid4().hex}"
        await self._client.put(key, b"to be removed")
        await self._client.delete(key)

    async def has(self, blob: StoredBlob) -> bool:
        return await self._client.head(blob.location) == blob.size

    async def place(self, blob: StoredBlob, chunks: AsyncIterator[bytes]) -> None:
        placing = _Placing(self._client, self._directory, self._executor, blob)
        with closing(placing):
            try:
                async for chunk in chunks:
                    await placing.take(chunk)
                await placing.end()
            except NoSuchMultipartError as error:  # a rule of the bucket, or an operator, has removed it
                said = {"error": "NoSuchUpload", "digest": str(blob.digest)}
                raise Unavailable("the object store has given up the upload of a blob; try again", said) from error
            except BaseException:
                await placing.give_up()
                raise


class _Placing:
    """One object on its way: a part is sent when it is full, and the object completed when all is right."""

    def __init__(self, client: S3Client, directory: DataDirectory, executor: Executor, blob: StoredBlob) -> None:
        self._client = client
        self._directory = directory
        self._executor = executor
        self._blob = blob
        self._hash = hashing.start(blob.digest.algorithm)
        self._size = 0
        self._part = self._new_part()
        self._parts: list[StagedPart] = []
        self._multipart = ""

    async def take(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            if self._part.size == part_size(len(self._parts) + 1):
                await self._send()
            room = part_size(len(self._parts) + 1) - self._part.size
            await self._in_thread(partial(self._append, bytes(rest[:room])))
            rest = rest[room:]

    def _append(self, chunk: bytes) -> None:
        self._part.append([chunk])
        self._hash.update(chunk)
        self._size += len(chunk)

    async def _send(self) -> None:
        if not self._multipart:
            self._multipart = await self._client.create_multipart(self._blob.location)
        number = len(self._parts) + 1
        sent = await self._client.upload_part(self._blob.location, self._multipart, number, self._part.body)
        self._parts.append(sent)
        self._part.close()
        self._part = self._new_part()

    def _new_part(self) -> SpooledPart:
        with translated("spooling a blob"):
            return SpooledPart(self._directory)

    async def end(self) -> None:
        """Raises DigestInvalid, SizeInvalid; nothing can be seen then."""
        if self._size != self._blob.size:
            said = f"there are {self._size} bytes where {self._blob.size} should be"
            raise SizeInvalid(said, {"digest": str(self._blob.digest)})
        check_digest(self._blob.digest, self._hash.digest())
        if not self._multipart:
            await self._client.put(self._blob.location, self._part.body)
            return
        await self._send()
        await self._client.complete(self._blob.location, self._multipart, self._parts, self._size)

    async def give_up(self) -> None:
        if self._multipart:
            await self._client.abort(self._blob.location, self._multipart)

    def close(self) -> None:
        self._part.close()

    async def _in_thread(self, work: partial[None]) -> None:
        await in_thread(self._executor, "spooling a blob", work)
