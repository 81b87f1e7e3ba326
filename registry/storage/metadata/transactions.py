"""How the writer's transactions begin and end; every kind of database does it in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from registry.errors import RegistryError

T = TypeVar("T")


class Transactions(Protocol):
    """Used by one thread at a time."""

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction of its own and return once that is durable.

        Raises what `work` raises, StorageFull, StorageFailure or Unavailable; nothing is changed then, unless the
        database was lost for good just as it took the change. `work` may be done more than once.
        """
        ...

    def blame(self, error: DBAPIError) -> RegistryError | None:
        """What to tell of a change that met an error; None where the error is not the change's own."""
        ...

    def close(self) -> None: ...
