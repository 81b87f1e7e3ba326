"""How far a slave is, read in its database beside it; a look costs it nothing."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.http import LoadError

_PATIENCE = 900.0
_POLL = 0.005


@dataclass(frozen=True, slots=True)
class Progress:
    """`at`: when it was so (monotonic seconds). `serial`: the last event that it has. `waiting`: not shown yet."""

    at: float
    serial: int
    waiting: int
    takes_snapshot: bool


def look(data: Path) -> Progress | None:
    """None where it has not begun."""
    file = data / "shoal.db"
    if not file.exists():
        return None
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
    try:
        row = database.execute("SELECT value FROM properties WHERE name = 'upstream'").fetchone()
        waiting = database.execute("SELECT count(*) FROM pending").fetchone()
    except sqlite3.OperationalError:  # its tables are being made
        return None
    finally:
        database.close()
    if row is None:
        return None
    upstream = json.loads(row[0])
    return Progress(time.monotonic(), upstream["serial"], waiting[0], upstream["snapshot"])


def wait_until_it_follows(data: Path) -> Progress:
    """Until it has a whole snapshot, and shows all that it knows. Raises LoadError."""
    return wait_for(data, lambda progress: not progress.takes_snapshot and not progress.waiting)


def wait_for(data: Path, wanted: Callable[[Progress], bool]) -> Progress:
    """The first look at which it is as far as is wanted. Raises LoadError."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        progress = look(data)
        if progress is not None and wanted(progress):
            return progress
        time.sleep(_POLL)
    raise LoadError(f"the slave in {data} did not come as far as was waited for within {_PATIENCE:g} seconds")
