"""How fast a slave takes in the events that it has missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import dataset
from benchmarks.replication.arena import Arena
from benchmarks.replication.progress import Progress, wait_for, wait_until_it_follows
from benchmarks.report import Goal, Row, make_row
from benchmarks.testbed.client import Session
from benchmarks.testbed.hosts import Host
from benchmarks.testbed.links import made_testbed
from benchmarks.testbed.nodes import Node, node, slave_of

_REPOSITORIES = 20
_SIZE = 4096
_GOAL = Goal("value", "least", 5000)


def rows(arena: Arena) -> Iterator[Row]:
    """All events are pushes of images whose layers are there: bytes have figures of their own."""
    events = arena.plan.events
    with arena.directory() as folder, made_testbed() as bed:
        host, copy = bed.host("master", arena.congestion), bed.host("slave", arena.congestion)
        slave = folder / "slave", slave_of(bed.join(host, copy).left_address)
        with node(host, folder / "master") as master:
            like = fill(arena, master, _REPOSITORIES)
            with node(copy, *slave):
                wait_until_it_follows(slave[0])
        kept, shown = [], []
        for run in range(arena.plan.runs):
            dataset.add_images(folder / "master", like, events, first=run * events)
            with node(host, folder / "master"):
                rates = _caught_up(copy, *slave, events)
            kept.append(rates[0])
            shown.append(rates[1])
    name = f"catching up with {events:,} events"
    yield arena.tell(make_row(f"{name}: kept", "events/s", None, kept, None, []))
    yield arena.tell(make_row(f"{name}: to be pulled", "events/s", _GOAL, shown, None, []))


def fill(arena: Arena, master: Node, repositories: int) -> dict[str, bytes]:
    """Push one small image to so many repositories; returns its manifest by each of them."""
    image = arena.image("bench/like", _SIZE, layers=1)
    names = [f"bench/many{number:03}" for number in range(repositories)]
    with Session(master.registry) as pushes:
        for name in names:
            pushes.push(replace(image, repository=name))
    return dict.fromkeys(names, image.manifest)


def _caught_up(host: Host, data: Path, arguments: list[str], events: int) -> tuple[float, float]:
    """Events a second that were kept, and that could be seen, from the first look at which there were new ones."""
    with node(host, data, arguments):
        first = wait_for(data, lambda progress: progress.waiting > 0)
        last = first.serial - first.waiting + events

        def is_kept(progress: Progress) -> bool:
            return progress.serial >= last

        kept = wait_for(data, is_kept)
        shown = wait_for(data, lambda progress: is_kept(progress) and progress.waiting == 0)
    lacking = last - first.serial
    return lacking / max(kept.at - first.at, 0.001), lacking / max(shown.at - first.at, 0.001)
