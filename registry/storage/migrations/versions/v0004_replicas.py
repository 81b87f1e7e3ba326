"""What a slave keeps of the registry above it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, LargeBinary, column, table

from registry.storage.migrations.types import Text, Whole

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "upstream_log",
        Column("serial", Whole, primary_key=True, autoincrement=False),
        Column("epoch", Whole, nullable=False),
        Column("time", Float, nullable=False),
        Column("kind", Text, nullable=False),
        Column("repository", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("chain", LargeBinary, nullable=False),
    )
    op.create_table(
        "pending",
        Column("number", Whole, primary_key=True),
        Column("repository", Text, nullable=False),
        Column("serial", Whole, nullable=False),
        Column("kind", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("content", LargeBinary, nullable=False),
        Column("is_snapshot", Whole, nullable=False),
    )
    op.create_index("pending_repository", "pending", ["repository", "number"])
    op.create_table(
        "transfers",
        Column("digest", Text, primary_key=True),
        Column("repository", Text, nullable=False),
        Column("upload", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    properties = table("properties", column("name"), column("value"))
    op.execute(properties.update().where(properties.c.name == "schema_version").values(value="4"))
