"""Pull of one large layer by one client and by several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from benchmarks.bench import Bench
from benchmarks.load import layers
from benchmarks.plan import MB, size_text
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

GOALS: Mapping[int, Goal] = {1: Goal("ratio", "least", 1.0), 8: Goal("ratio", "least", 1.2)}


def rows(bench: Bench, goals: Mapping[int, Goal] = GOALS) -> Iterator[Row]:
    """`goals`: by the number of clients."""
    layer = bench.layers.next()

    def prepare(server: Server) -> None:
        layers.push(server, [layer], "at once")

    def rate(server: Server, clients: int) -> float:
        return clients * layer.size / MB / layers.pull(server, layer, clients)

    with bench.standing(prepare) as sides:
        for clients, goal in goals.items():
            name = f"pull of {size_text(layer.size)}, {clients} client{'s' if clients > 1 else ''}"
            yield bench.compare(name, "MB/s", goal, *sides(partial(rate, clients=clients)))
