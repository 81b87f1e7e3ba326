"""How much is measured: sizes, times and runs."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes in bytes, times in seconds. Every figure is the median of `runs` runs of each side."""

    runs: int
    seconds: int
    layer_size: int
    images: int
    pushes_at_once: int
    blobs: int
    tags: int
    page_requests: int


FULL = Plan(
    runs=5,
    seconds=5,
    layer_size=1024 * MIB,
    images=200,
    pushes_at_once=16,
    blobs=1_000_000,
    tags=100_000,
    page_requests=1000,
)
QUICK = Plan(
    runs=3,
    seconds=1,
    layer_size=128 * MIB,
    images=40,
    pushes_at_once=16,
    blobs=100_000,
    tags=10_000,
    page_requests=200,
)


def size_text(size: int) -> str:
    """`1 GiB`, `128 MiB`, `500 MB`, `1234 bytes`."""
    for unit, name in ((1024 * MIB, "GiB"), (MIB, "MiB"), (MB, "MB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size:,} bytes"
