"""The memory that a worker ever needed while many large layers were pushed at once."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.load import layers
from benchmarks.plan import MB, size_text
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

GOAL = Goal("value", "most", 150)


def rows(bench: Bench, goal: Goal = GOAL) -> Iterator[Row]:
    count = bench.plan.pushes_at_once

    def peak(server: Server) -> float:
        layers.push(server, [bench.layers.next() for _ in range(count)], "chunks")
        return server.peak_memory() / MB

    name = f"memory of a worker, {count} pushes of {size_text(bench.plan.layer_size)} at once"
    yield bench.compare(name, "MB", goal, *bench.fresh(peak), runs=max(1, bench.plan.runs // 2))
