"""The last page of a long list of tags, beside the only page of a short one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from benchmarks.bench import Bench, Side
from benchmarks.dataset import FEW, FEW_TAGS, MANY, tag_name
from benchmarks.load.pages import page_time
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

_GOAL = Goal("ratio", "most", 1.5)


def rows(bench: Bench) -> Iterator[Row]:
    plan = bench.plan
    last = tag_name(plan.tags - FEW_TAGS - 1)
    long = f"/v2/{MANY}/tags/list?n={FEW_TAGS}&last={last}"
    short = f"/v2/{FEW}/tags/list?n={FEW_TAGS}"

    def milliseconds(server: Server, target: str) -> float:
        return 1000 * page_time(server, target, FEW_TAGS, plan.page_requests)

    with bench.shoal(bench.filled) as server:
        yield bench.compare(
            f"last page of {FEW_TAGS} of {plan.tags:,} tags",
            "ms",
            _GOAL,
            Side("Shoal", lambda: nullcontext(server), lambda server: milliseconds(server, long)),
            Side(f"a list of {FEW_TAGS} tags", lambda: nullcontext(server), lambda server: milliseconds(server, short)),
        )
