"""Complete blobs in a dictionary, given as the blobs of an object store are: a part at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from registry.domain.digest import Digest
from registry.errors import BlobUnknown
from registry.ports import StoredBlob

Before = Callable[[int], Awaitable[None]]
"""Called before the chunk at a position is given: it may wait, or raise what a store would."""


async def _at_once(_position: int) -> None:
    """The chunk comes without delay."""


@dataclass
class MemoryStreams:
    """BlobStore. `contents`, `address` and `before` may be changed by a test; `reads` has every range that was asked.

    `address`: what the addresses of blobs begin with; "" where clients cannot fetch them. `chunk`: bytes at a time.
    """

    contents: dict[Digest, bytes] = field(default_factory=dict)
    address: str = ""
    chunk: int = 64 * 1024
    before: Before = _at_once
    reads: list[tuple[int, int]] = field(default_factory=list)

    def add(self, content: bytes, algorithm: str = "sha256") -> StoredBlob:
        digest = Digest.of(content, algorithm)
        self.contents[digest] = content
        return StoredBlob(digest, len(content), f"blobs/{digest.hex}")

    async def open(self, blob: StoredBlob) -> MemoryStream:
        """What is missing is found when it is read, as in an object store."""
        return MemoryStream(self, blob)

    async def intact(self, blob: StoredBlob) -> bool:
        return blob.digest in self.contents

    async def url(self, blob: StoredBlob) -> str | None:
        return f"{self.address}/{blob.location}" if self.address else None

    async def remove(self, digest: Digest) -> None:
        self.contents.pop(digest, None)

    async def everything(self) -> AsyncIterator[Sequence[Digest]]:
        yield list(self.contents)


@dataclass(frozen=True, slots=True)
class MemoryStream:
    """BlobStream."""

    store: MemoryStreams
    blob: StoredBlob

    @property
    def size(self) -> int:
        return self.blob.size

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        self.store.reads.append((start, stop))
        await self.store.before(start)
        content = self.store.contents.get(self.blob.digest)
        if content is None:
            raise BlobUnknown("the bytes of this blob are missing; push it again", {"digest": str(self.blob.digest)})
        content = content[:stop]
        for position in range(start, len(content), self.store.chunk):
            if position > start:
                await self.store.before(position)
            yield content[position : position + self.store.chunk]

    def close(self) -> None:
        """Nothing is open between two reads."""
