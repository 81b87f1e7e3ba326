"""What of a log is on no other node, written to a file."""

from __future__ import annotations

import shutil
from pathlib import Path

from registry.config import Settings
from registry.errors import StartupError
from registry.processes.slave import FORKS
from registry.storage.metadata.feed import SqlFeed
from registry.wiring import database_of
from replication import fork


async def exported(settings: Settings, to: Path) -> int:
    """How many events were written: those of a former master, or, where it goes on as a slave already, what it kept of
    them (the last time). Raises StartupError."""
    database = database_of(settings)
    if database.version() is None:
        raise StartupError(f"{settings.data} has no database: name another with --data or --config")
    rows = database.rows()
    try:
        feed = SqlFeed(rows)
        standing = await feed.standing()
        if standing.is_former:
            return await fork.keep(fork.events_after(feed, standing.common), to)
    finally:
        await rows.close()
    kept = sorted((settings.data / FORKS).glob("*.ndjson"), key=lambda file: file.stat().st_mtime)
    if not kept:
        raise StartupError("no other node has taken the place of this one, as far as it knows")
    shutil.copyfile(kept[-1], to)
    return sum(1 for _ in to.open("rb"))
