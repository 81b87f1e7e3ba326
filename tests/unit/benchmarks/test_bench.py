"""The order of runs, and what a run may cost."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from benchmarks.bench import Bench, Side, progress_on
from benchmarks.load import layers
from benchmarks.load.content import LayerSource
from benchmarks.load.http import Connection
from benchmarks.plan import MIB, QUICK, Plan
from benchmarks.processes import Server
from benchmarks.report import Goal
from benchmarks.scenarios import ACCESS, SCENARIOS

GOAL = Goal("ratio", "least", 2)
NOBODY = Server("nobody", 1, 1, 0.0)


def silent() -> Progress:
    return progress_on(Console(quiet=True))


def recorded(name: str, order: list[str], values: list[float]) -> Side[Server]:
    def load(server: Server) -> float:
        order.append(name)
        return values.pop(0)

    return Side(name, lambda: nullcontext(NOBODY), load)


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda peer=None: Bench(replace(QUICK, runs=3, layer_size=1024 * 1024), tmp_path, peer, None, silent())


def test_sides_take_turns(bench: Callable[..., Bench]) -> None:
    order: list[str] = []
    row = bench().compare("figure", "x/s", GOAL, recorded("A", order, [10, 30, 20]), recorded("B", order, [1, 3, 2]))
    assert order == ["A", "B"] * 3
    assert (row.value, row.peer, row.peer_value, row.ratio, row.met) == (20, "B", 2, 10, True)


def test_alone(bench: Callable[..., Bench]) -> None:
    order: list[str] = []
    row = bench().compare("figure", "x/s", GOAL, recorded("A", order, [10, 20]), None, runs=2)
    assert order == ["A", "A"]
    assert (row.value, row.peer, row.met) == (15, None, None)


def test_fresh_server_each_time_and_nothing_large_left(bench: Callable[..., Bench], tmp_path: Path) -> None:
    seen: list[Server] = []
    layer = LayerSource(tmp_path / "layer", 2 * MIB).next()

    def load(server: Server) -> float:
        seen.append(server)
        layers.push(server, [layer], "chunks")
        with Connection(server.port) as connection:
            assert connection.discard(f"/v2/{layers.REPOSITORY}/blobs/{layer.digest}") == layer.size
        return 1.0

    ours, peer = bench().fresh(load)
    assert peer is None
    bench().compare("figure", "x/s", GOAL, ours, peer, runs=2)
    assert len({server.pid for server in seen}) == 2
    assert [file for file in tmp_path.rglob("*") if file.stat().st_size > MIB] == [layer.file]


@pytest.mark.require("docker-registry", "wrk")
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_figure_beside_the_peer(name: str, tmp_path: Path) -> None:
    """With sizes so small that the values mean nothing."""
    plan = Plan(runs=1, seconds=1, layer_size=2 * MIB, images=8, pushes_at_once=3, blobs=500, tags=200, page_requests=5)
    rows = list(SCENARIOS[name](Bench(plan, tmp_path, "docker-registry", None, silent())))
    assert rows
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.value > 0
        assert row.ratio is not None
        assert row.ratio > 0
        assert row.met in (True, False)


@pytest.mark.require("docker-registry", "curl")
def test_pulls_by_tls_beside_the_peer(tmp_path: Path) -> None:
    plan = Plan(runs=1, seconds=1, layer_size=2 * MIB, images=8, pushes_at_once=3, blobs=500, tags=200, page_requests=5)
    rows = list(ACCESS["tls"](Bench(plan, tmp_path, "docker-registry", None, silent())))
    assert [row.value > 0 and row.ratio is not None and row.ratio > 0 for row in rows] == [True, True]


@pytest.mark.require("docker-registry")
def test_standing_servers_have_the_same_content(bench: Callable[..., Bench]) -> None:
    prepared: list[Server] = []
    loaded: list[Server] = []

    def load(server: Server) -> float:
        loaded.append(server)
        return 1.0

    measuring = bench("docker-registry")
    with measuring.standing(prepared.append) as sides:
        measuring.compare("figure", "x/s", GOAL, *sides(load), runs=2)
    assert [server.name for server in prepared] == ["Shoal", "docker-registry"]
    assert loaded == prepared * 2
