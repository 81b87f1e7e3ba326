"""Accounts, groups, grants and keys; whose an upload is."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, column, table

from registry.storage.migrations.types import Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "access_records",
        Column("kind", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
        Column("private", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.add_column("uploads", Column("opener", Text, nullable=False, server_default=""))
    properties = table("properties", column("name"), column("value"))
    op.execute(properties.update().where(properties.c.name == "schema_version").values(value="3"))
