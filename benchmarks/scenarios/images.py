"""Push of many small images by several clients: every blob and manifest of ours is on the disk when it is answered."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.load import content, images
from benchmarks.report import Goal, Row

_CLIENTS = 8
_LAYERS = 5
_GOAL = Goal("ratio", "least", 2)


def rows(bench: Bench) -> Iterator[Row]:
    count = bench.plan.images
    hands = content.images(count, _CLIENTS)
    sides = bench.fresh(lambda server: count / images.push(server, hands))
    name = f"push of {count} images of {_LAYERS} layers, {_CLIENTS} clients"
    yield bench.compare(name, "images/s", _GOAL, *sides)
