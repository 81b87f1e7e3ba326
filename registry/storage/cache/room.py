"""What a cache of bounded size keeps, and what it gives up for something new; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LARGEST_SHARE = 4


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file of the cache; `used`: when it was last opened, in nanoseconds."""

    name: str
    size: int
    used: int


@dataclass(frozen=True, slots=True)
class CacheRoom:
    """`bound`: the bytes that all files of the cache have at most, those that are being filled with their full size."""

    bound: int

    def admits(self, size: int) -> bool:
        """Whether a blob may be cached: one large blob must not push out all others."""
        return 0 < size <= self.bound // _LARGEST_SHARE

    def evictions(self, size: int, kept: Iterable[CachedFile], filling: int) -> list[CachedFile] | None:
        """The files to remove so that `size` more bytes fit: those that were not used for longest.

        `filling`: the bytes of files that are being filled, which stay. None where they leave no room.
        """
        if size + filling > self.bound:
            return None
        oldest_first = sorted(kept, key=lambda file: (file.used, file.name))
        excess = size + filling + sum(file.size for file in oldest_first) - self.bound
        evicted = []
        for file in oldest_first:
            if excess <= 0:
                break
            evicted.append(file)
            excess -= file.size
        return evicted
