"""Push of one large layer, beside the peer and beside what the machine can do at best."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Side
from benchmarks.load import layers
from benchmarks.load.layers import Manner
from benchmarks.plan import MB, MIB, size_text
from benchmarks.processes import Server
from benchmarks.report import Goal, Row

_MANNERS: dict[Manner, str] = {
    "chunks": "PATCH in chunks",
    "length": "PATCH with its length",
    "at once": "in one PUT",
}
_GOAL = Goal("ratio", "least", 3)
_GOAL_OF_MACHINE = Goal("ratio", "least", 0.5)


def rows(bench: Bench) -> Iterator[Row]:
    size = bench.plan.layer_size
    what = f"push of {size_text(size)}"

    def rate(server: Server, manner: Manner) -> float:
        return size / MB / layers.push(server, [bench.layers.next()], manner)

    for manner, words in _MANNERS.items():
        sides = bench.fresh(partial(rate, manner=manner))
        yield bench.compare(f"{what}, {words}", "MB/s", _GOAL, *sides)

    ours, _ = bench.fresh(partial(rate, manner="chunks"))
    machine = Side("the slower of SHA-256 and dd with fsync", bench.directory, lambda folder: _limit(bench, folder))
    yield bench.compare(f"{what}, as the machine allows", "MB/s", _GOAL_OF_MACHINE, ours, machine)


def _limit(bench: Bench, folder: Path) -> float:
    """MB/s of the slower of what a push cannot do without: hash every byte, bring every byte to the disk."""
    return min(hashing_rate(bench.layers.file), writing_rate(bench.layers.file, folder / "copy"))


def hashing_rate(file: Path) -> float:
    """MB/s of SHA-256 by hashlib over a file that is in the page cache."""
    digest, buffer = hashlib.sha256(), bytearray(MIB)
    started, size = time.monotonic(), 0
    with file.open("rb", buffering=0) as source:
        while count := source.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            size += count
    return size / MB / (time.monotonic() - started)


def writing_rate(file: Path, copy: Path) -> float:
    """MB/s of a copy by dd that ends with fsync."""
    started = time.monotonic()
    subprocess.run(["dd", f"if={file}", f"of={copy}", "bs=1M", "conv=fsync", "status=none"], check=True)
    return copy.stat().st_size / MB / (time.monotonic() - started)
