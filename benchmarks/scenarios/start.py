"""From the start to the first answer, with much data and with none."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench, Side
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

_GOAL = Goal("ratio", "most", 1.2)


def rows(bench: Bench) -> Iterator[Row]:
    with bench.directory() as folder:
        empty = folder / "data"
        with bench.shoal(empty):  # the very first start makes the folders and tables
            pass
        plan = bench.plan
        yield bench.compare(
            f"start to first answer, {plan.blobs:,} blobs, {plan.tags:,} tags",
            "s",
            _GOAL,
            Side("Shoal", lambda: bench.shoal(bench.filled), _started_in),
            Side("no data", lambda: bench.shoal(empty), _started_in),
        )


def _started_in(server: Server) -> float:
    return server.started_in
