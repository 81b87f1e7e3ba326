"""What slaves cost their master: its pushes, and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.plan import MIB
from benchmarks.replication.arena import Arena
from benchmarks.report import Goal, Row, make_row
from benchmarks.testbed.client import Session
from benchmarks.testbed.hosts import Host, TestbedError
from benchmarks.testbed.links import made_testbed
from benchmarks.testbed.nodes import PORT, node

_SIZE = 100_000
_ROOT = Path(__file__).parents[2]


def pushes(arena: Arena) -> Iterator[Row]:
    """Where there are two processors the master has one and the slaves another, as on machines of their own."""
    plan = arena.plan
    ours, theirs = _processors()
    alone: list[float] = []
    followed: list[float] = []
    with arena.directory() as folder, made_testbed() as bed:
        host, away = bed.host("master", arena.congestion), bed.host("slaves", arena.congestion)
        address = bed.join(host, away).left_address
        with node(host, folder / "master", processors=ours) as master, Session(master.registry) as session:
            for _ in range(plan.runs):
                alone.append(_rate(arena, session))
                with light_slaves(away, f"http://{address}:{PORT}", plan.slaves, theirs, fetches=True):
                    followed.append(_rate(arena, session))
    name = f"pushes while {plan.slaves} slaves copy all"
    yield arena.tell(make_row(name, "images/s", Goal("ratio", "least", 0.9), followed, "no slaves", alone))


def memory(arena: Arena) -> Iterator[Row]:
    """Of slaves that follow; each figure is the growth of the master shared out among them."""
    plan, found = arena.plan, []
    with arena.directory() as folder, made_testbed() as bed:
        host, away = bed.host("master", arena.congestion), bed.host("slaves", arena.congestion)
        address = bed.join(host, away).left_address
        for run in range(plan.runs):
            with node(host, folder / f"master{run}") as master, Session(master.registry) as session:
                _rate(arena, session)
                before = master.memory()
                with light_slaves(away, f"http://{address}:{PORT}", plan.light, (), fetches=False):
                    _rate(arena, session)
                    found.append((master.memory() - before) / plan.light / MIB)
    name = f"memory of the master for each of {plan.light} slaves"
    yield arena.tell(make_row(name, "MiB", Goal("value", "most", 2), found, None, []))


def _rate(arena: Arena, session: Session) -> float:
    images = [arena.image("bench/pushes", _SIZE) for _ in range(arena.plan.pushes)]
    began = time.monotonic()
    for image in images:
        session.push(image)
    return len(images) / (time.monotonic() - began)


def _processors() -> tuple[tuple[int, ...], tuple[int, ...]]:
    usable = sorted(os.sched_getaffinity(0))
    return ((usable[0],), tuple(usable[1:])) if len(usable) > 1 else ((), ())


@contextmanager
def light_slaves(host: Host, master: str, count: int, processors: tuple[int, ...], *, fetches: bool) -> Iterator[None]:
    """So many of them follow by the time the block begins. Raises TestbedError where they do not."""
    command = [sys.executable, "-m", "benchmarks.replication.light", master, str(count), *["--fetch"] * fetches]
    if processors:
        command = ["taskset", "--cpu-list", ",".join(map(str, processors)), *command]
    process = subprocess.Popen(host.command(command), cwd=_ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise TestbedError("the slaves did not start; what they said is above")
        yield
        if process.poll() is not None:
            raise TestbedError("the slaves ended before their time; what they said is above")
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
