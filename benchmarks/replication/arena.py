"""What every figure has: how much to measure, where to keep it, and a way to tell of it."""

from __future__ import annotations

import itertools
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.progress import Progress

from benchmarks.load import content
from benchmarks.load.content import Image
from benchmarks.replication.plan import Plan
from benchmarks.report import Goal, Row, Runs, make_row, shown

_LAYERS = 4
_GZIP = b"\x1f\x8b\x08"


@dataclass(frozen=True)
class Arena:
    """`peer`: whether what people do today is measured too. `congestion`: of TCP, None for the kernel's choice."""

    plan: Plan
    folder: Path
    progress: Progress
    peer: bool
    congestion: str | None
    _seeds: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """For one figure."""
        made = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield made
        finally:
            shutil.rmtree(made)

    def image(self, repository: str, size: int, layers: int = _LAYERS, seed: str = "") -> Image:
        """Another one each time, of that size, in layers of one size; `seed`: so that other runs have others too."""
        number = next(self._seeds)
        made = content.image(
            repository, f"v{number}", f"{seed}{number}" if seed else number, layers, size // layers - len(_GZIP)
        )
        config, *random = made.blobs.values()
        # Skopeo would compress a layer that does not begin like this, and so make another image of it.
        blobs = {content.sha256(each): each for each in (config, *(_GZIP + each for each in random))}
        first, *rest = ((digest, len(each)) for digest, each in blobs.items())
        return Image(repository, made.tag, blobs, content.image_manifest(first, rest))

    def tell(self, row: Row) -> Row:
        beside = "" if row.ratio is None else f", {row.ratio:.2f} x {row.peer}"
        missed = "" if row.met is not False else f"; the goal is {row.goal}"
        line = f"{row.name}: {shown(row.value)} {row.unit}{beside}{missed}"
        self.progress.console.print(line, highlight=False, soft_wrap=True)
        return row


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def at_percentile(
    name: str,
    unit: str,
    goal: Goal | None,
    share: float,
    values: Sequence[float],
    peer: str | None = None,
    peer_values: Sequence[float] = (),
) -> Row:
    """A row of one percentile of all samples, which it keeps as its runs."""
    others = [percentile(peer_values, share)] if peer_values else []
    row = make_row(name, unit, goal, [percentile(values, share)], peer, others)
    return replace(row, runs=Runs(tuple(values), tuple(peer_values)))
