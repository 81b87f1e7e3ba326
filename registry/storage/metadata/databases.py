"""The kinds of databases, and which of them the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from registry.storage.metadata import sqlite
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.freshness import AfterCommits, BeforeEveryAnswer, Freshness
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.transactions import Transactions


class Database(Protocol):
    """Where the metadata is kept."""

    def prepare(self, *, may_be_new: bool) -> None:
        """Create it, or bring it up to date. Raises StartupError."""
        ...

    def version(self) -> tuple[int, int] | None:
        """The version of its schema and the lowest that a program must know; None where there is no schema yet."""
        ...

    def rows(self) -> Rows:
        """What executes the statements of readers."""
        ...

    def reader(self) -> SqlReader: ...

    def freshness(self, reader: SqlReader, commits: CommitCounter) -> Freshness:
        """For what a process remembers. `commits`: counted by the node's own writer."""
        ...

    def transactions(self) -> Transactions:
        """For the node's one writer."""
        ...


def chosen(url: str, data: Path) -> Database:
    """`url`: of a Postgres; "" for the file in the data directory."""
    return PostgresDatabase(url, data) if url else SqliteDatabase(data)


class SqliteDatabase:
    """A file in the data directory, which one node uses."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def prepare(self, *, may_be_new: bool) -> None:
        sqlite.prepare(self._data, may_be_new=may_be_new)

    def version(self) -> tuple[int, int] | None:
        return sqlite.version(self._data)

    def rows(self) -> Rows:
        return sqlite.LoopRows(self._data)

    def reader(self) -> SqlReader:
        return SqlReader(self.rows())

    def freshness(self, reader: SqlReader, commits: CommitCounter) -> Freshness:
        return AfterCommits(commits, reader.head)

    def transactions(self) -> Transactions:
        return sqlite.SqliteTransactions(self._data)


class PostgresDatabase:
    """A server that any number of nodes use. What it needs is imported here: that takes a while."""

    def __init__(self, url: str, data: Path) -> None:
        from registry.storage.metadata import postgres

        self._url = postgres.parse(url)
        self._data = data

    def prepare(self, *, may_be_new: bool) -> None:
        from registry.storage.metadata import postgres

        postgres.prepare(self._url, str(self._data), may_be_new=may_be_new)

    def version(self) -> tuple[int, int] | None:
        from registry.storage.metadata import postgres

        return postgres.version(self._url)

    def rows(self) -> Rows:
        from registry.storage.metadata.postgres import PoolRows

        return PoolRows(self._url)

    def reader(self) -> SqlReader:
        return SqlReader(self.rows())

    def freshness(self, _reader: SqlReader, _commits: CommitCounter) -> Freshness:
        from registry.storage.metadata.postgres_head import HeadConnection

        head = HeadConnection(self._url)
        return BeforeEveryAnswer(head.read, head.close)

    def transactions(self) -> Transactions:
        from registry.storage.metadata.postgres_writer import PostgresTransactions

        return PostgresTransactions(self._url)
