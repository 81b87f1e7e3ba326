"""How a reader has its statements executed; every kind of database does it in its own way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sqlalchemy import Row, Select

Values = Mapping[str, object]


class Rows(Protocol):
    """Each call is one statement that sees whatever was committed before the call.

    All raise StorageFailure where the database fails, Unavailable where it cannot be reached just now.
    """

    async def all(self, statement: Select[Any], values: Values) -> Sequence[Row[Any]]: ...

    async def one_or_none(self, statement: Select[Any], values: Values) -> Row[Any] | None: ...

    async def scalar(self, statement: Select[Any], values: Values) -> Any: ...

    def each(self, statement: Select[Any], values: Values) -> AbstractAsyncContextManager[AsyncIterator[Row[Any]]]:
        """Rows as they come, for those who may stop early."""
        ...

    async def close(self) -> None: ...
