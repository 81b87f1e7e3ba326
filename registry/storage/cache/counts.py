"""What is counted of a cache."""

from __future__ import annotations

from typing import Protocol


class CacheCounts(Protocol):
    """Called from threads too."""

    def cache_hit(self) -> None:
        """A blob was served from its complete file."""
        ...

    def cache_missed(self) -> None:
        """A blob that the cache admits was not there: it comes from the store, or from a file that is being filled."""
        ...

    def cache_filled(self, size: int) -> None:
        """So many bytes were read from the store into the cache."""
        ...

    def cache_holds(self, size: int) -> None:
        """So many bytes have the complete files now."""
        ...
