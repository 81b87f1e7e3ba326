"""What is read of accounts, groups, grants and keys (registry.domain.access)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from registry.domain.access import AccessTable


class AccessReader(Protocol):
    """Reads of the records; all raise StorageFailure, Unavailable."""

    async def records(self) -> Sequence[tuple[str, str, str]]:
        """Kind, key and value of each."""
        ...

    async def record_changes(self, after: int, limit: int) -> Sequence[tuple[str, str, str]] | None:
        """Kind, key and value ("" where it was removed) of what the journal says beyond the serial `after`; None where
        it is not kept back to there."""
        ...

    async def private_key(self, key_id: str) -> str | None:
        """What signs where the public key of that id verifies, as PEM."""
        ...


class Access(Protocol):
    """All records, as new as the last change that was acknowledged before the call."""

    async def table(self, *, looks_once: bool = False) -> AccessTable:
        """`looks_once`: the request only reads, so one look at the database is enough for all that follows in it."""
        ...
