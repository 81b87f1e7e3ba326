"""What the object store is asked: how often, and how long a client waits for it at the end of a push."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from benchmarks.bench import Bench, Side
from benchmarks.load.content import Layer, LayerSource, image
from benchmarks.load.http import Connection, LoadError
from benchmarks.load.images import push_image
from benchmarks.load.layers import REPOSITORY, closing
from benchmarks.places import ObjectStore
from benchmarks.plan import MB, size_text
from benchmarks.processes import Server
from benchmarks.recorder import LISTS_AND_COPIES, StoreRecorder
from benchmarks.report import Goal, Row, make_row

_IMAGE = image("bench/image", "latest", seed=0, layers=1)
_FINISHES = 3


def endings(bench: Bench) -> Iterator[Row]:
    """From the last byte that a client sends to its 201, for a large blob and a small one."""
    large = 2 * bench.plan.layer_size
    with StoreRecorder(_store(bench).endpoint) as recorder, bench.directory() as folder:
        placed = bench.placed(replace(_store(bench), endpoint=recorder.url))
        shares: list[float] = []

        def own(size: int) -> Callable[[Server], float]:
            source = LayerSource(folder / f"layer-{size}", size)

            def load(server: Server) -> float:
                sent, answered = _ending(server, source)
                share = recorder.waited(sent, answered)
                if size == large:
                    shares.append(1000 * share)
                return 1000 * (answered - sent - share)

            return load

        ours = Side("Shoal", placed.shoal, own(large))
        small = Side("1 MB", placed.shoal, own(MB))
        name = f"last byte of {size_text(large)} to 201, less the store's share"
        yield placed.compare(name, "ms", Goal("ratio", "most", 1.5), ours, small, _FINISHES)
        yield make_row("the store's share of it", "ms", None, shares, None, [])


def _ending(server: Server, source: LayerSource) -> tuple[float, float]:
    """When the last byte of a PUT was sent, and when it was answered."""
    layer = source.next()
    with Connection(server.port) as connection:
        begun = connection.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/")
        answer = connection.send_layer("PUT", closing(begun.location, layer.digest), layer, chunked=False)
        if answer.status != 201:
            raise LoadError(f"the PUT was answered with {answer.status}: {answer.body[:300]!r}")
        return connection.body_sent_at, time.monotonic()


def requests(bench: Bench) -> Iterator[Row]:
    """How often each operation is asked for, by us and by the peer."""
    with StoreRecorder(_store(bench).endpoint) as recorder:
        placed = bench.placed(replace(_store(bench), endpoint=recorder.url))
        ours, peer = placed.fresh(lambda _server: 0.0)
        sides = [_counted(side, bench.layers.next(), recorder) for side in (ours, peer) if side is not None]
    name = None if peer is None else peer.name
    for what in sides[0]:
        operations = sorted({operation for counts in sides for operation in counts[what]})
        for operation in operations:
            values = [float(counts[what][operation]) for counts in sides]
            yield make_row(f"{what}: {operation}", "requests", None, values[:1], name, values[1:])
    unwanted = [sum(counts[what][each] for what in counts for each in LISTS_AND_COPIES) for counts in sides]
    goal = Goal("value", "most", 0)
    yield make_row("lists and copies in all of it", "requests", goal, unwanted[:1], name, unwanted[1:])


def _counted(side: Side[Server], layer: Layer, recorder: StoreRecorder) -> dict[str, Counter[str]]:
    """By what was done, what the store was asked."""
    counts: dict[str, Counter[str]] = {}
    with side.lend() as server, Connection(server.port) as connection:

        def count(what: str, work: Callable[[], object]) -> None:
            recorder.asked.clear()
            work()
            counts[what] = recorder.operations()

        def push_layer() -> None:
            begun = connection.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/")
            answer = connection.send_layer("PUT", closing(begun.location, layer.digest), layer, chunked=False)
            if answer.status != 201:
                raise LoadError(f"the PUT was answered with {answer.status}: {answer.body[:300]!r}")

        size = size_text(layer.size)
        count("push of a small image", lambda: push_image(connection, _IMAGE))
        count("pull of a small image", lambda: _pull(connection))
        count(f"push of {size}", push_layer)
        count(f"pull of {size}", lambda: connection.discard(f"/v2/{REPOSITORY}/blobs/{layer.digest}"))
    return counts


def _pull(connection: Connection) -> None:
    connection.request("GET", f"/v2/{_IMAGE.repository}/manifests/{_IMAGE.tag}")
    for digest in _IMAGE.blobs:
        connection.discard(f"/v2/{_IMAGE.repository}/blobs/{digest}")


def _store(bench: Bench) -> ObjectStore:
    assert isinstance(bench.places, ObjectStore)
    return bench.places
