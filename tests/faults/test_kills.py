"""kill -9: at every point between two steps to the disk, and at random moments."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults import datadir
from tests.faults.conftest import StartNode
from tests.faults.ledger import Ledger
from tests.faults.node import BUSY, EAGER, Node, check_after
from tests.faults.steps import CHANGES, Step, Steps
from tests.faults.workload import Crowd, Worker, until_broken
from tests.harness.process import wait_until

pytestmark = [pytest.mark.require("gcc"), pytest.mark.timeout(3000)]


def run_and_collect(node: Node, ledger: Ledger, name: str, seed: int) -> None:
    """Every kind of change once, then the collector; ends early when the server dies."""
    Worker(node.url, ledger, name, seed, largest=5_000).everything()
    for session in ledger.sessions:
        session.closing = True
    node.reconfigure(EAGER)
    wait_until(lambda: not datadir.leftovers(node.data) or node.process.poll() is not None, "garbage is collected")


def spread(taken: list[Step], count: int) -> list[int]:
    """About `count` steps: of each kind the first, and others at equal distances."""
    firsts = {taken.index(kind) + 1 for kind in set(taken)}
    return sorted(firsts | set(range(3, len(taken) + 1, max(len(taken) // (count - len(firsts)), 1))))


def walk(start_node: StartNode, library: Path, data: Path, *, workers: int, most: int | None) -> int:
    """Kill the process that takes a step before it takes it, for each step of a small workload or about `most` of
    them; returns how often one was killed."""
    steps = Steps(library, data)
    node = start_node(data=data, env=steps.environment, workers=workers)
    serving = workers if workers > 1 else 0
    ledger = Ledger()
    steps.watch(*CHANGES)
    run_and_collect(node, ledger, "rehearsal", 0)
    taken = steps.taken
    steps.ignore()
    assert set(taken) >= {*CHANGES} - {Step.TRUNCATE}, "the workload has to take steps of every kind"
    check_after(node, ledger)
    kills = 0
    for hit in spread(taken, most) if most else range(1, len(taken) + 1):
        name = f"before{hit}"
        steps.watch(*CHANGES, hit=hit)
        with suppress(ProcessLookupError, TimeoutError):
            until_broken(lambda name=name, hit=hit: run_and_collect(node, ledger, name, hit))  # type: ignore[misc]
        steps.ignore()
        if steps.victim:  # the number of the last steps differs a little from run to run
            kills += 1
            node.recover(steps.victim, serving)
        check_after(node, ledger, f"{name}/")
    check_after(node, ledger)
    datadir.check_integrity(node.data)
    return kills


def test_killed_between_two_steps(start_node: StartNode, steps_library: Path, tmp_path: Path) -> None:
    assert walk(start_node, steps_library, tmp_path / "data", workers=1, most=14) >= 10


def test_worker_or_node_killed_between_two_steps(start_node: StartNode, steps_library: Path, tmp_path: Path) -> None:
    assert walk(start_node, steps_library, tmp_path / "data", workers=2, most=8) >= 5


@pytest.mark.slow
def test_killed_before_each_step(start_node: StartNode, steps_library: Path, tmp_path: Path) -> None:
    assert walk(start_node, steps_library, tmp_path / "data", workers=1, most=None) >= 150


@pytest.mark.slow
def test_worker_or_node_killed_before_each_step(start_node: StartNode, steps_library: Path, tmp_path: Path) -> None:
    assert walk(start_node, steps_library, tmp_path / "data", workers=2, most=None) >= 150


def killed_at_random(node: Node, rounds: int) -> None:
    """Four clients at work, the collector too; kill the node `rounds` times, and check after each."""
    chance = random.Random(rounds)  # noqa: S311 - no secret
    ledger = Ledger()
    for number in range(rounds):
        crowd = [Worker(node.url, ledger, f"round{number}/client{name}", number * 10 + name) for name in range(4)]
        node.reconfigure(BUSY)
        with Crowd(crowd):
            time.sleep(chance.uniform(0.05, 1.0))
            node.kill()
        node.start_with(BUSY)
        check_after(node, ledger, f"round{number}/")
    check_after(node, ledger)
    datadir.check_integrity(node.data)
    assert ledger.acknowledged > rounds, "the clients got somewhere"


def test_killed_at_random(start_node: StartNode) -> None:
    killed_at_random(start_node(), 5)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_often(start_node: StartNode, workers: int) -> None:
    killed_at_random(start_node(workers=workers), 60)


def workers_killed_at_random(node: Node, kills: int) -> None:
    """Kill workers under four clients: the node goes on, each worker is replaced, no promise is broken."""
    chance = random.Random(kills)  # noqa: S311 - no secret
    ledger = Ledger()
    with Crowd([Worker(node.url, ledger, f"client{name}", name) for name in range(4)]):
        for _ in range(kills):
            time.sleep(chance.uniform(1.0, 1.5))
            victim = chance.choice(node.workers)
            os.kill(victim, signal.SIGKILL)
            node.recover(victim, 2)
    check_after(node, ledger)
    assert ledger.acknowledged > kills


def test_workers_killed_at_random(start_node: StartNode) -> None:
    workers_killed_at_random(start_node(settings=BUSY, workers=2), 2)


@pytest.mark.slow
def test_workers_killed_at_random_often(start_node: StartNode) -> None:
    workers_killed_at_random(start_node(settings=BUSY, workers=2), 30)


def test_killed_node_leaves_no_process(start_node: StartNode) -> None:
    """Nobody answers on the port any more, and the next node can have it at once."""
    node = start_node(workers=2)
    workers = node.workers
    assert len(workers) == 2
    node.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers are gone", 5)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", node.port)) != 0
    node.start()
    assert len(node.workers) == 2
