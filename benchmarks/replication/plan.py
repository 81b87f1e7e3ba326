"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.plan import MB

MBIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes in bytes, times in seconds, rates in bits/s.

    `sizes`: of images whose lag is measured, and how many of each on a LAN; on longer links a quarter of that.
    `rtts`: of the longer links, which have the `rate`. `layers`: so many of `layer_size`, over one link.
    `events`, `tags`: to catch up with, and of a snapshot. `pushes`: of small images, while `slaves` follow.
    """

    sizes: tuple[tuple[int, int], ...]
    rtts: tuple[float, ...]
    rate: int
    layers: int
    layer_size: int
    events: int
    tags: int
    pushes: int
    runs: int
    slaves: int = 10
    light: int = 50


FULL = Plan(
    sizes=((MB, 200), (16 * MB, 40), (256 * MB, 8)),
    rtts=(0.05, 0.3),
    rate=200 * MBIT,
    layers=4,
    layer_size=256 * MB,
    events=50_000,
    tags=100_000,
    pushes=200,
    runs=5,
)
QUICK = Plan(
    sizes=((MB, 40), (16 * MB, 8)),
    rtts=(0.05, 0.3),
    rate=200 * MBIT,
    layers=4,
    layer_size=48 * MB,
    events=10_000,
    tags=10_000,
    pushes=60,
    runs=3,
)
