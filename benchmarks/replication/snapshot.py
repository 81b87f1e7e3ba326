"""How long a snapshot takes, beside a copy of the same database by SQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import dataset
from benchmarks.replication.arena import Arena
from benchmarks.replication.catchup import fill
from benchmarks.replication.progress import wait_for
from benchmarks.report import Goal, Row, make_row
from benchmarks.testbed.hosts import Host
from benchmarks.testbed.links import made_testbed
from benchmarks.testbed.nodes import node, slave_of

_REPOSITORIES = 100
_GOAL = Goal("ratio", "most", 2)
_PEER = "a copy by SQL"


def rows(arena: Arena) -> Iterator[Row]:
    """The images share their layers, so that it is the database that is measured."""
    tags = arena.plan.tags
    kept, shown, copies = [], [], []
    with arena.directory() as folder, made_testbed() as bed:
        host, copy = bed.host("master", arena.congestion), bed.host("slave", arena.congestion)
        address = bed.join(host, copy).left_address
        with node(host, folder / "master") as master:
            like = fill(arena, master, _REPOSITORIES)
        dataset.add_images(folder / "master", like, tags)
        for run in range(arena.plan.runs):
            copies.append(copied(folder / "master" / "shoal.db", folder / f"copy{run}.db"))
            with node(host, folder / "master"):
                times = _taken(folder / f"slave{run}", slave_of(address), copy)
            kept.append(times[0])
            shown.append(times[1])
    name = f"snapshot of {tags:,} tags"
    yield arena.tell(make_row(f"{name}: kept", "s", _GOAL, kept, _PEER, copies))
    yield arena.tell(make_row(f"{name}: to be pulled", "s", _GOAL, shown, _PEER, copies))


def _taken(data: Path, arguments: list[str], host: Host) -> tuple[float, float]:
    """Seconds until all of it was kept, and until all could be seen, from the first that came."""
    with node(host, data, arguments):
        began = wait_for(data, lambda progress: True).at
        kept = wait_for(data, lambda progress: not progress.takes_snapshot and progress.serial > 0).at
        shown = wait_for(data, lambda progress: not progress.waiting and not progress.takes_snapshot).at
    return kept - began, shown - began


def copied(database: Path, target: Path) -> float:
    """Seconds in which SQLite copies all tables and indexes of a file into another, durably."""
    began = time.monotonic()
    with sqlite3.connect(target, isolation_level=None) as copy:
        copy.execute("PRAGMA journal_mode = WAL")
        copy.execute("ATTACH ? AS master", (str(database),))
        found = copy.execute("SELECT type, name, sql FROM master.sqlite_master WHERE sql IS NOT NULL").fetchall()
        copy.execute("BEGIN")
        for wanted in ("table", "index"):
            for kind, name, made_by in found:
                if kind == wanted and not name.startswith("sqlite_"):
                    copy.execute(made_by)
                    if kind == "table":
                        copy.execute(f'INSERT INTO main."{name}" SELECT * FROM master."{name}"')  # noqa: S608
        copy.execute("COMMIT")
    copy.close()
    return time.monotonic() - began
