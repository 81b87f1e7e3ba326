"""The tables, the same in SQLite and in Postgres.

Text compares bytewise in both, whatever language the database was made for, so tags sort the same everywhere.
"""

from __future__ import annotations

import re

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    TypeDecorator,
)
from sqlalchemy import Text as AnyText

SCHEMA_VERSION = 5
# The lowest version whose programs still work with this schema (registry.storage.migrations says how to keep that low).
SCHEMA_NEEDS = 2
CURSOR_SECRET = "cursor_secret"  # noqa: S105 - its name
"""The name of the property with what cursors of slaves of some repositories are made with (hexadecimal)."""


class _WithNul(TypeDecorator[str]):
    """Text of clients, which may hold any character; in Postgres text cannot hold NUL."""

    impl = AnyText(collation="C")
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return value and value.replace("\\", "\\\\").replace("\0", "\\0")

    def process_result_value(self, value: str | None, _dialect: Dialect) -> str | None:
        return value and re.sub(r"\\(.)", lambda found: "\0" if found[1] == "0" else found[1], value)


Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")
TextOfClients = AnyText().with_variant(_WithNul(), "postgresql")
# In SQLite every integer has 64 bits, and only an INTEGER PRIMARY KEY numbers its rows by itself.
Whole = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

properties = Table(
    "properties",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

head = Table(
    "head",
    metadata,
    Column("id", Whole, primary_key=True, autoincrement=False),
    Column("serial", Whole, nullable=False),
    Column("epoch", Whole, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    # How often a link to a blob was removed: such removals are no journal events, but caches have to hear of them.
    Column("unlinks", Whole, nullable=False),
)


def _log(name: str) -> Table:
    """A table of registry.domain.events."""
    return Table(
        name,
        metadata,
        Column("serial", Whole, primary_key=True, autoincrement=False),
        Column("epoch", Whole, nullable=False),
        Column("time", Float, nullable=False),
        Column("kind", Text, nullable=False),
        Column("repository", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("chain", LargeBinary, nullable=False),
    )


journal = _log("journal")

repositories = Table(
    "repositories",
    metadata,
    Column("id", Whole, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("size", Whole, nullable=False),
    # The object that holds the bytes; "" where they are in the file that is named by the digest.
    Column("location", Text, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)

blob_links = Table(
    "blob_links",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("unneeded_since", Float),
    sqlite_with_rowid=False,
)
Index(
    "blob_links_unneeded",
    blob_links.c.unneeded_since,
    sqlite_where=blob_links.c.unneeded_since.is_not(None),
    postgresql_where=blob_links.c.unneeded_since.is_not(None),
)

garbage = Table("garbage", metadata, Column("digest", Text, primary_key=True), sqlite_with_rowid=False)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("last_byte", Float, nullable=False),
    Column("offset", Whole, nullable=False),
    Column("hash_state", LargeBinary, nullable=False),
    Column("multipart", Text, nullable=False),
    Column("parts", Text, nullable=False),
    Column("tails", Whole, nullable=False),
    Column("tail", Text, nullable=False),
    Column("tail_size", Whole, nullable=False),
    Column("holder", Text, nullable=False),
    Column("held_until", Float, nullable=False),
    # The account that began it; "" where there were none.
    Column("opener", Text, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)
Index("uploads_last_byte", uploads.c.last_byte)

leftovers = Table(
    "leftovers",
    metadata,
    Column("key", Text, primary_key=True),
    Column("multipart", Text, primary_key=True),
    Column("since", Float, nullable=False),
    sqlite_with_rowid=False,
)
Index("leftovers_since", leftovers.c.since)

# Accounts, groups, grants and keys (registry.domain.access). Few of them change and all are kept in memory, so a
# record is a JSON text; `private` is what leaves the database to those alone who sign with it.
access_records = Table(
    "access_records",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("private", Text, nullable=False),
    sqlite_with_rowid=False,
)

# On a slave: the events of the log above it as they came, and of them what it does not show yet. Its own journal has
# what it shows, in the order in which it does.
upstream_log = _log("upstream_log")

pending = Table(
    "pending",
    metadata,
    Column("number", Whole, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("serial", Whole, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("is_snapshot", Whole, nullable=False),
)
Index("pending_repository", pending.c.repository, pending.c.number)

transfers = Table(
    "transfers",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("repository", Text, nullable=False),
    Column("upload", Text, nullable=False),
    sqlite_with_rowid=False,
)

manifests = Table(
    "manifests",
    metadata,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("subject", Text),
    Column("artifact_type", TextOfClients),
    Column("annotations", Text, nullable=False),
)
Index(
    "manifests_subject",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.digest,
    sqlite_where=manifests.c.subject.is_not(None),
    postgresql_where=manifests.c.subject.is_not(None),
)

references = Table(
    "manifest_references",
    metadata,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("manifest", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("manifest_references_target", references.c.repository_id, references.c.target)

tags = Table(
    "tags",
    metadata,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("tags_digest", tags.c.repository_id, tags.c.digest)
