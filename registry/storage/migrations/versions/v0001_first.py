"""The schema of release 0.1.0."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, ForeignKey, LargeBinary, column, insert, table, text

from registry.storage.migrations.types import Text, Whole

revision = "0001"
down_revision = None


def upgrade() -> None:
    _journal()
    _content()
    properties = table("properties", column("name"), column("value"))
    op.execute(insert(properties).values(name="schema_version", value="1"))


def _journal() -> None:
    op.create_table(
        "properties",
        Column("name", Text, primary_key=True),
        Column("value", Text, nullable=False),
    )
    op.create_table(
        "head",
        Column("id", Whole, primary_key=True, autoincrement=False),
        Column("serial", Whole, nullable=False),
        Column("epoch", Whole, nullable=False),
        Column("chain", LargeBinary, nullable=False),
        Column("unlinks", Whole, nullable=False),
    )
    op.create_table(
        "journal",
        Column("serial", Whole, primary_key=True, autoincrement=False),
        Column("epoch", Whole, nullable=False),
        Column("time", Float, nullable=False),
        Column("kind", Text, nullable=False),
        Column("repository", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("chain", LargeBinary, nullable=False),
    )


def _content() -> None:
    op.create_table(
        "repositories",
        Column("id", Whole, primary_key=True),
        Column("name", Text, nullable=False, unique=True),
    )
    op.create_table(
        "blobs",
        Column("digest", Text, primary_key=True),
        Column("size", Whole, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blob_links",
        Column("digest", Text, primary_key=True),
        Column("repository_id", Whole, ForeignKey("repositories.id"), primary_key=True),
        Column("unneeded_since", Float),
        sqlite_with_rowid=False,
    )
    _index_where_set("blob_links_unneeded", "blob_links", ["unneeded_since"], "unneeded_since")
    op.create_table("garbage", Column("digest", Text, primary_key=True), sqlite_with_rowid=False)
    op.create_table(
        "manifests",
        Column("repository_id", Whole, ForeignKey("repositories.id"), primary_key=True),
        Column("digest", Text, primary_key=True),
        Column("media_type", Text, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("subject", Text),
        Column("artifact_type", Text),
        Column("annotations", Text, nullable=False),
    )
    _index_where_set("manifests_subject", "manifests", ["repository_id", "subject", "digest"], "subject")
    op.create_table(
        "manifest_references",
        Column("repository_id", Whole, ForeignKey("repositories.id"), primary_key=True),
        Column("manifest", Text, primary_key=True),
        Column("target", Text, primary_key=True),
        Column("kind", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("manifest_references_target", "manifest_references", ["repository_id", "target"])
    op.create_table(
        "tags",
        Column("repository_id", Whole, ForeignKey("repositories.id"), primary_key=True),
        Column("name", Text, primary_key=True),
        Column("digest", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tags_digest", "tags", ["repository_id", "digest"])


def _index_where_set(name: str, of_table: str, columns: list[str], where: str) -> None:
    condition = text(f"{where} IS NOT NULL")
    op.create_index(name, of_table, columns, sqlite_where=condition, postgresql_where=condition)
