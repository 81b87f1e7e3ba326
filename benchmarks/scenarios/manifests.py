"""Manifests by tag: what every pull begins with."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.load import wrk
from benchmarks.load.content import image
from benchmarks.load.http import Connection
from benchmarks.load.images import push_image
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

_CONNECTIONS = 32
_GOAL = Goal("ratio", "least", 8)
_IMAGE = image("bench/image", "latest", seed=0)


def rows(bench: Bench) -> Iterator[Row]:
    def load(server: Server) -> float:
        target = f"/v2/{_IMAGE.repository}/manifests/{_IMAGE.tag}"
        return wrk.get_rate(server, target, _CONNECTIONS, bench.plan.seconds)

    for workers in (1, 2):
        name = f"manifest GET, {_CONNECTIONS} connections, {workers} worker{'s' if workers > 1 else ''}"
        with bench.standing(_prepare, workers) as sides:
            yield bench.compare(name, "req/s", _GOAL, *sides(load))


def _prepare(server: Server) -> None:
    with Connection(server.port) as connection:
        push_image(connection, _IMAGE)
