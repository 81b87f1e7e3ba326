"""The tables. Text compares bytewise (SQLite's BINARY collation), so tags sort as bytes."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

SCHEMA_VERSION = 2

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
    Column("id", Integer, primary_key=True),
    Column("serial", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    # How often a link to a blob was removed: such removals are no journal events, but caches have to hear of them.
    Column("unlinks", Integer, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("serial", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("time", Float, nullable=False),
    Column("kind", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
)

repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("size", Integer, nullable=False),
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
    Column("offset", Integer, nullable=False),
    Column("hash_state", LargeBinary, nullable=False),
    Column("multipart", Text, nullable=False),
    Column("parts", Text, nullable=False),
    Column("tails", Integer, nullable=False),
    Column("tail_size", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("held_until", Float, nullable=False),
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

manifests = Table(
    "manifests",
    metadata,
    Column("repository_id", ForeignKey("repositories.id"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("subject", Text),
    Column("artifact_type", Text),
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
