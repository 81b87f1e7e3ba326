"""Where the bytes of a blob are; upload sessions whose bytes are staged in an object store, and their leftovers."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, LargeBinary, column, insert, table

from registry.storage.migrations.types import Text, Whole

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("blobs", Column("location", Text, nullable=False, server_default=""))
    op.create_table(
        "uploads",
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
        sqlite_with_rowid=False,
    )
    op.create_index("uploads_last_byte", "uploads", ["last_byte"])
    op.create_table(
        "leftovers",
        Column("key", Text, primary_key=True),
        Column("multipart", Text, primary_key=True),
        Column("since", Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("leftovers_since", "leftovers", ["since"])
    properties = table("properties", column("name"), column("value"))
    op.execute(properties.update().where(properties.c.name == "schema_version").values(value="2"))
    op.execute(insert(properties).values(name="schema_needs", value="2"))
