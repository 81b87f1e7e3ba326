"""The hash of a replication token is a part of its record, and not private any more; a secret for cursors of slaves.

No event tells of it: slaves that are there know the hashes of new tokens, and after a snapshot of all.
"""

from __future__ import annotations

import json
import secrets

from alembic import op
from sqlalchemy import column, insert, select, table

revision = "0005"
down_revision = "0004"

_records = table("access_records", column("kind"), column("key"), column("value"), column("private"))
_properties = table("properties", column("name"), column("value"))


def upgrade() -> None:
    connection = op.get_bind()
    old = (_records.c.kind == "replica") & (_records.c.private != "")
    for row in connection.execute(select(_records).where(old)).all():
        value = json.dumps({**json.loads(row.value), "hash": row.private}, separators=(",", ":"), sort_keys=True)
        this = (_records.c.kind == "replica") & (_records.c.key == row.key)
        op.execute(_records.update().where(this).values(value=value, private=""))
        op.execute(_properties.update().where(_properties.c.name == "schema_needs").values(value="5"))
    op.execute(insert(_properties).values(name="cursor_secret", value=secrets.token_hex(32)))
    op.execute(_properties.update().where(_properties.c.name == "schema_version").values(value="5"))
