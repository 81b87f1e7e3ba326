"""HEAD of a blob: what every push asks first."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.load import heads
from benchmarks.load.content import image
from benchmarks.load.http import Connection
from benchmarks.load.images import push_image
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

_CONNECTIONS = 32
_GOAL = Goal("ratio", "least", 4)
_IMAGE = image("bench/image", "latest", seed=0)


def rows(bench: Bench) -> Iterator[Row]:
    digest = next(iter(_IMAGE.blobs))

    def load(server: Server) -> float:
        target = f"/v2/{_IMAGE.repository}/blobs/{digest}"
        return heads.head_rate(server, target, _CONNECTIONS, bench.plan.seconds)

    with bench.standing(_prepare) as sides:
        yield bench.compare(f"blob HEAD, {_CONNECTIONS} connections", "req/s", _GOAL, *sides(load))


def _prepare(server: Server) -> None:
    with Connection(server.port) as connection:
        push_image(connection, _IMAGE)
