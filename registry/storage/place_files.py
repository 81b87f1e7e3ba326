"""Placing blobs from elsewhere as files of a data directory, each verified before it can be seen."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from functools import partial

from registry.domain.digest import Digest
from registry.ports import StoredBlob
from registry.storage.files import DataDirectory, in_thread
from registry.storage.staged_file import SUFFIX, StagedFile


class FilePlacer:
    """Placer of files in a data directory."""

    def __init__(self, directory: DataDirectory, executor: Executor) -> None:
        self._directory = directory
        self._executor = executor

    def new_location(self, _name: str) -> str:
        return ""

    async def check(self) -> None:
        await in_thread(self._executor, "writing a file", self._check)

    def _check(self) -> None:
        content = b"to be removed"
        digest = Digest.of(content)
        target = self._directory.blob(digest).with_name(f"{uuid.uuid4().hex}{SUFFIX}")  # no name of a blob
        with StagedFile(self._directory.uploads, digest.algorithm) as staged:
            staged.write(content)
            staged.publish(digest, len(content), target)
        target.unlink()

    async def has(self, blob: StoredBlob) -> bool:
        path = self._directory.blob(blob.digest)
        found = await in_thread(self._executor, "looking for a blob", lambda: path.stat() if path.is_file() else None)
        return found is not None and found.st_size == blob.size

    async def place(self, blob: StoredBlob, chunks: AsyncIterator[bytes]) -> None:
        async def do(work: partial[None]) -> None:
            await in_thread(self._executor, "writing a blob", work)

        await do(partial(self._directory.check_room, blob.size))
        stage = partial(StagedFile, self._directory.uploads, blob.digest.algorithm)
        with await in_thread(self._executor, "writing a blob", stage) as staged:
            async for chunk in chunks:
                await do(partial(staged.write, chunk))
            await do(partial(staged.publish, blob.digest, blob.size, self._directory.blob(blob.digest)))
