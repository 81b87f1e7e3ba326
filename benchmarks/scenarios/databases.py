"""The metadata in Postgres, beside the same in SQLite; the blobs lie in the object store with both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from benchmarks.bench import Bench, Load, Side
from benchmarks.database import postgres, postgres_programs
from benchmarks.load import content, images, wrk
from benchmarks.load.http import Connection, LoadError
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

_CONNECTIONS = 32
_CLIENTS = 8
_WORKERS = 2
_IMAGE = content.image("bench/image", "latest", seed=0)


def rows(bench: Bench) -> Iterator[Row]:
    programs = postgres_programs()
    if programs is None:
        raise LoadError("the figure `databases` needs Postgres, which is not here: apt-get install postgresql")
    with postgres(programs) as url:
        yield from _reads(bench, {"SHOAL_DATABASE__URL": url})
    with postgres(programs) as url:
        yield from _writes(bench, {"SHOAL_DATABASE__URL": url})


def _reads(bench: Bench, there: Mapping[str, str]) -> Iterator[Row]:
    target = f"/v2/{_IMAGE.repository}/manifests/{_IMAGE.tag}"

    def load(server: Server) -> float:
        return wrk.get_rate(server, target, _CONNECTIONS, bench.plan.seconds)

    name = f"manifest GET with Postgres, {_CONNECTIONS} connections, {_WORKERS} workers"
    with _both(bench, there) as (ours, other):
        yield bench.compare(name, "req/s", Goal("ratio", "least", 0.8), ours(load), other(load))


def _writes(bench: Bench, there: Mapping[str, str]) -> Iterator[Row]:
    count, first = bench.plan.images, 0

    def load(server: Server) -> float:
        nonlocal first
        hands = content.images(count, _CLIENTS, first)
        first += count
        return count / images.push(server, hands)

    name = f"push of {count} small images with Postgres, {_CLIENTS} clients, {_WORKERS} workers"
    with _both(bench, there) as (ours, other):
        yield bench.compare(name, "images/s", None, ours(load), other(load))


Loaded = Callable[[Load], Side[Server]]


@contextmanager
def _both(bench: Bench, there: Mapping[str, str]) -> Iterator[tuple[Loaded, Loaded]]:
    """Us with either database, as processes that stay; each becomes a side with the load that it is given."""
    with bench.shoal(workers=_WORKERS, environment=there) as ours, bench.shoal(workers=_WORKERS) as other:
        for server in (ours, other):
            with Connection(server.port) as connection:
                images.push_image(connection, _IMAGE)
        yield (
            lambda load: Side("Postgres", lambda: nullcontext(ours), load),
            lambda load: Side("SQLite", lambda: nullcontext(other), load),
        )
