"""The figures: one file for each kind, one function that measures its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.bench import Bench
from benchmarks.report import Row
from benchmarks.scenarios import blobs, images, manifests, memory, pull, push, start, tags

Scenario = Callable[[Bench], Iterator[Row]]

SCENARIOS: Mapping[str, Scenario] = {
    "manifests": manifests.rows,
    "blobs": blobs.rows,
    "push": push.rows,
    "images": images.rows,
    "pull": pull.rows,
    "memory": memory.rows,
    "start": start.rows,
    "tags": tags.rows,
}
