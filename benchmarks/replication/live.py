"""A master and slaves that run already: how far behind they are, measured with small images that go again."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.load.content import Image
from benchmarks.plan import MB, size_text
from benchmarks.replication.arena import Arena, at_percentile
from benchmarks.replication.lag import measured
from benchmarks.report import Goal, Row
from benchmarks.testbed.client import Registry, Session

_POLL = 0.01
_SIZES = {True: (MB,), False: (MB, 16 * MB)}
_COUNT = {True: 10, False: 50}


@dataclass(frozen=True, slots=True)
class Live:
    """`repository`: where images go meanwhile; tags have a prefix that nobody else has. `is_quick`: few and small."""

    master: Registry
    slaves: Sequence[Registry]
    repository: str
    is_quick: bool


def rows(arena: Arena, live: Live) -> Iterator[Row]:
    """Every image is deleted at the master when all is measured, however that ended."""
    prefix = f"shoal-bench-{uuid.uuid4().hex[:12]}"
    numbers = itertools.count(1)
    with ExitStack() as cleaning:
        for slave in live.slaves:
            for size in _SIZES[live.is_quick]:

                def make(size: int = size) -> Image:
                    seeded = arena.image(live.repository, size, seed=f"{prefix}-{next(numbers)}")
                    image = replace(seeded, tag=f"{prefix}-{seeded.tag}")
                    cleaning.callback(_remove, live.master, image)
                    return image

                samples = measured(live.master, slave, _COUNT[live.is_quick], make, _POLL)
                lags = [1000 * sample.lag for sample in samples]
                push = 1000 * median(sample.push for sample in samples)
                for share, times in ((0.5, 1), (0.99, 3)):
                    goal = Goal("value", "most", round(times * push, 1)) if size == MB else None
                    name = f"lag of {size_text(size)} at {slave.url}, p{100 * share:g}"
                    yield arena.tell(at_percentile(name, "ms", goal, share, lags))


def _remove(master: Registry, image: Image) -> None:
    with Session(master) as session:
        session.remove(image)
