"""Alembic, inside a transaction of ours. Its import takes a while, so only those import this who have to upgrade."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, stamp: str | None, target: str = "head") -> None:
    """Run the migrations up to `target`. `stamp`: the revision of a database that does not say so itself."""
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent))
    configuration.attributes["connection"] = connection
    if stamp is not None:
        command.stamp(configuration, stamp)
    command.upgrade(configuration, target)
