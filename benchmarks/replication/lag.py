"""How long after the master's 201 an image can be pulled from a slave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.load.content import Image
from benchmarks.plan import MB, size_text
from benchmarks.replication import peers
from benchmarks.replication.arena import Arena, at_percentile
from benchmarks.replication.progress import wait_until_it_follows
from benchmarks.report import Goal, Row
from benchmarks.testbed.client import Registry, Session
from benchmarks.testbed.hosts import Host
from benchmarks.testbed.links import LAN, Conditions, Testbed, made_testbed
from benchmarks.testbed.nodes import PORT, Node, node, slave_of

_REPOSITORY, _PEERS = "bench/lag", "bench/peer"
_WARM_UP = 5
_ON_LONG_LINKS = 4  # a quarter of the samples
_FEWEST = 4
_OF_PEER = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds that the push took, and from its end until the image could be pulled."""

    push: float
    lag: float


@dataclass(frozen=True, slots=True)
class _Place:
    """A master and its link to whoever copies from it."""

    arena: Arena
    bed: Testbed
    folder: Path
    host: Host
    master: Node
    conditions: Conditions

    def beside(self, name: str) -> tuple[Host, str]:
        """Another host at the end of a link of its own, and where it finds the master."""
        host = self.bed.host(name, self.arena.congestion)
        return host, self.bed.join(self.host, host, self.conditions).left_address


def rows(arena: Arena) -> Iterator[Row]:
    for rtt in (0.0, *arena.plan.rtts):
        conditions = Conditions(rtt, rate=arena.plan.rate) if rtt else LAN
        with arena.directory() as folder, made_testbed() as bed:
            host = bed.host("master", arena.congestion)
            with node(host, folder / "master") as master:
                yield from _on_one_link(_Place(arena, bed, folder, host, master, conditions))


def _on_one_link(place: _Place) -> Iterator[Row]:
    plan, conditions = place.arena.plan, place.conditions
    slave, address = place.beside("slave")
    with node(slave, place.folder / "slave", slave_of(address)) as copy:
        wait_until_it_follows(copy.data)
        _samples(place.arena, place.master.registry, copy.registry, MB, _WARM_UP)
        measured = {
            size: _samples(place.arena, place.master.registry, copy.registry, size, _count(count, conditions))
            for size, count in plan.sizes
        }
    others = _of_peer(place) if place.arena.peer else []
    for size, samples in measured.items():
        beside = others if size == MB else []
        yield from map(
            place.arena.tell, _told(_named(size, conditions), samples, beside, _goals(size, samples, conditions))
        )
    if conditions.rtt:
        yield place.arena.tell(_cold(place, slave, address))


def _count(count: int, conditions: Conditions) -> int:
    return max(_FEWEST, count // _ON_LONG_LINKS) if conditions.rtt else count


def _named(size: int, conditions: Conditions) -> str:
    where = (
        f"{conditions.rtt * 1000:g} ms RTT, {(conditions.rate or 0) // 1_000_000} Mbit/s" if conditions.rtt else "LAN"
    )
    return f"lag of {size_text(size)}, {where}"


def _goals(size: int, samples: Sequence[Sample], conditions: Conditions) -> tuple[float | None, float | None]:
    """In milliseconds, for p50 and p99."""
    if conditions.rtt and conditions.rate:
        return 1000 * (2.2 * conditions.rtt + 8 * size / conditions.rate + 0.1), None
    if size != MB:
        return None, None
    push = 1000 * median(sample.push for sample in samples)
    return push, 3 * push


def _told(
    name: str, samples: Sequence[Sample], others: Sequence[float], goals: tuple[float | None, float | None]
) -> Iterator[Row]:
    lags = [1000 * sample.lag for sample in samples]
    peer = peers.SKOPEO_SYNC if others else None
    for share, goal in zip((0.5, 0.99), goals, strict=True):
        bound = None if goal is None else Goal("value", "most", round(goal, 1))
        yield at_percentile(f"{name}, p{100 * share:g}", "ms", bound, share, lags, peer, [1000 * lag for lag in others])


def _samples(arena: Arena, master: Registry, slave: Registry, size: int, count: int) -> list[Sample]:
    return measured(master, slave, count, lambda: arena.image(_REPOSITORY, size))


def measured(
    master: Registry, slave: Registry, count: int, make: Callable[[], Image], poll: float = 0.002
) -> list[Sample]:
    """One image after the other. Raises LoadError where one is shown and not whole."""
    samples = []
    with Session(master) as pushes, Session(slave) as pulls:
        for _ in range(count):
            image = make()
            took = pushes.push(image)
            done = time.monotonic()
            samples.append(Sample(took, max(0.0, pulls.wait_for(image, poll) - done)))
    return samples


def _cold(place: _Place, slave: Host, address: str) -> Row:
    """Each time with a slave that has just been started, so that no connection for blobs is there."""
    conditions, lags = place.conditions, []
    for _ in range(_FEWEST):
        with node(slave, place.folder / "slave", slave_of(address)) as copy:
            wait_until_it_follows(copy.data)
            time.sleep(3 * conditions.rtt)  # the stream of events has been answered then
            lags += [sample.lag for sample in _samples(place.arena, place.master.registry, copy.registry, MB, 1)]
    bound = 1000 * (5 * conditions.rtt + 8 * MB / (conditions.rate or 1) + 0.1)
    name = f"{_named(MB, conditions)}, cold, p50"
    return at_percentile(name, "ms", Goal("value", "most", round(bound, 1)), 0.5, [1000 * lag for lag in lags])


def _of_peer(place: _Place) -> list[float]:
    """Lags of `skopeo sync` in a loop, which copies one repository into a registry beside it."""
    if not peers.has_skopeo():
        return []
    host, address = place.beside("peer")
    with ExitStack() as running, Session(place.master.registry) as pushes:
        copy = running.enter_context(node(host, place.folder / "peer"))
        pushes.push(place.arena.image(_PEERS, MB))
        source, target = f"{address}:{PORT}/{_PEERS}", f"127.0.0.1:{PORT}/{_PEERS.partition('/')[0]}"
        running.enter_context(peers.syncing(host, source, target, place.folder))
        found = measured(place.master.registry, copy.registry, _OF_PEER, lambda: place.arena.image(_PEERS, MB))
    return [sample.lag for sample in found]
