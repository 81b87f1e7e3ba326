"""Blobs in an object store: the figures that differ from those on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from benchmarks.bench import Bench, Side
from benchmarks.load import layers, wrk
from benchmarks.load.content import image
from benchmarks.load.http import Connection
from benchmarks.load.images import push_image
from benchmarks.places import ObjectStore
from benchmarks.plan import MB, size_text
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

_CONNECTIONS = 32
_IMAGE = image("bench/image", "latest", seed=0)


def push(bench: Bench) -> Iterator[Row]:
    """One large layer, beside the peer and beside boto3 alone into the same store."""
    size = bench.plan.layer_size

    def rate(server: Server) -> float:
        return size / MB / layers.push(server, [bench.layers.next()], "chunks")

    ours, peer = bench.fresh(rate)
    yield bench.compare(f"push of {size_text(size)}, PATCH in chunks", "MB/s", Goal("ratio", "least", 2), ours, peer)
    store = _store(bench)
    plain = Side("plain boto3", bench.directory, lambda _: store.upload_rate(bench.layers.file))
    yield bench.compare(f"push of {size_text(size)}, as boto3 does", "MB/s", Goal("ratio", "least", 0.9), ours, plain)


def redirects(bench: Bench) -> Iterator[Row]:
    """How many GETs of a blob are answered with the address of its object."""
    sending = bench.placed(replace(_store(bench), redirect=True))
    target = f"/v2/{_IMAGE.repository}/blobs/{next(iter(_IMAGE.blobs))}"
    with sending.standing(_prepare) as sides:
        load = partial(wrk.get_rate, target=target, connections=_CONNECTIONS, seconds=bench.plan.seconds)
        name = f"redirect of a blob GET, {_CONNECTIONS} connections"
        yield bench.compare(name, "req/s", Goal("ratio", "least", 4), *sides(load))


def _prepare(server: Server) -> None:
    with Connection(server.port) as connection:
        push_image(connection, _IMAGE)


def _store(bench: Bench) -> ObjectStore:
    assert isinstance(bench.places, ObjectStore)
    return bench.places
