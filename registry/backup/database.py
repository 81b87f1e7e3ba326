"""The database file of a snapshot."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, bindparam, delete, update

from registry.domain.digest import Digest
from registry.domain.events import EPOCH_BEGIN
from registry.errors import StartupError
from registry.ports import StoredBlob
from registry.storage.metadata import journal, sqlite
from registry.storage.metadata.schema import blobs, garbage, head, leftovers, uploads
from registry.storage.metadata.statements import FORGET_MOVE

_PAGE = 1000


def settle(file: Path) -> None:
    """Leave out what only the registry's own store gives a meaning to, and make it one file without a log beside."""
    with _written(file) as connection:
        for table in (uploads, leftovers, garbage):
            connection.execute(delete(table))
        # A restored registry is where its settings say; the file that the move names need not be there.
        connection.execute(FORGET_MOVE)
    with closing(sqlite3.connect(file)) as plain:
        plain.execute("PRAGMA journal_mode=DELETE")


def rewrite(file: Path, location: Callable[[StoredBlob], str]) -> int:
    """Give every blob the location that it has after a restore, and begin an epoch; the serial of that event.

    Whoever followed the journal may have events that the snapshot does not: they must not take what comes now for
    the same history.
    """
    places = [{"d": str(blob.digest), "new": location(blob)} for blob in blobs_of(file)]
    with _written(file) as connection:
        if places:
            place = update(blobs).where(blobs.c.digest == bindparam("d")).values(location=bindparam("new"))
            connection.execute(place, places)
        connection.execute(update(head).values(epoch=head.c.epoch + 1))
        return journal.append(connection, time.time(), EPOCH_BEGIN, "", {"id": secrets.token_hex(16)})


def blobs_of(file: Path) -> Iterator[StoredBlob]:
    """Raises StartupError where it cannot be read."""
    statement = "SELECT digest, size, location FROM blobs ORDER BY digest"
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            for digest, size, location in connection.execute(statement):
                yield StoredBlob(Digest.parse(digest), size, location)
    except sqlite3.Error as error:
        raise StartupError(f"the database {file} cannot be read: {error}; take another snapshot") from error


def totals(file: Path) -> tuple[int, int]:
    """How many blobs there are, and their bytes."""
    sizes = [blob.size for blob in blobs_of(file)]
    return len(sizes), sum(sizes)


def hash_of(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def pages(found: Iterable[StoredBlob]) -> Iterator[list[StoredBlob]]:
    """Some at a time."""
    page: list[StoredBlob] = []
    for blob in found:
        page.append(blob)
        if len(page) == _PAGE:
            yield page
            page = []
    yield page


@contextmanager
def _written(file: Path) -> Iterator[Connection]:
    engine = sqlite.open_file(file, read_only=False)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()
