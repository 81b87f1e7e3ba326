"""One run of the benchmarks: who is compared, in which order, and on what."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import Progress

from benchmarks import dataset, processes
from benchmarks.load.content import LayerSource
from benchmarks.places import OnDisk, Places
from benchmarks.plan import MIB, Plan
from benchmarks.processes import Server
from benchmarks.profile import Profiler
from benchmarks.report import Goal, Row, make_row, shown

_LARGE = MIB

T = TypeVar("T")
Load = Callable[[Server], float]
"""Puts load on a server and returns the figure, in the unit of its row."""


@dataclass(frozen=True, slots=True)
class Side(Generic[T]):
    """One side of a comparison. Each run borrows what it needs, and is timed by `load` alone."""

    name: str
    lend: Callable[[], AbstractContextManager[T]]
    load: Callable[[T], float]


def standing_side(name: str, server: Server, load: Load) -> Side[Server]:
    """One whose process stays for all runs."""
    return Side(name, lambda: nullcontext(server), load)


Sides = tuple[Side[Server], Side[Server] | None]


class Bench:
    """Measures rows. Everything is kept in `folder`, on one file system; `peer` is None where it is left out."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        peer: str | None,
        profiler: Profiler | None,
        progress: Progress,
        places: Places | None = None,
    ) -> None:
        self.plan = plan
        self.places = places or OnDisk()
        self.peer = peer
        self._folder = folder
        self._profiler = profiler
        self._progress = progress

    def compare(
        self,
        name: str,
        unit: str,
        goal: Goal | None,
        ours: Side[Server],
        other: Side[T] | None,
        runs: int | None = None,
    ) -> Row:
        """Run both sides in turn, A B A B, and make a row of the medians; `runs` where it is not as planned."""
        runs = runs or self.plan.runs
        values: list[float] = []
        others: list[float] = []
        task = self._progress.add_task(name, total=runs * (2 if other else 1))
        for _ in range(runs):
            values.append(_one_run(ours))
            self._progress.advance(task)
            if other is not None:
                others.append(_one_run(other))
                self._progress.advance(task)
        self._progress.remove_task(task)
        row = make_row(name, unit, goal, values, other.name if other else None, others)
        beside = "" if row.ratio is None else f", {row.ratio:.2f} x {row.peer}"
        line = f"{row.name}: {shown(row.value)} {row.unit}{beside}"
        self._progress.console.print(line, highlight=False, soft_wrap=True)
        if row.met is False and self._profiler is not None:
            self._profile(self._profiler, row, ours)
        return row

    def placed(self, places: Places) -> Bench:
        """The same with blobs elsewhere; it has no layers of its own, which would overwrite ours."""
        return Bench(self.plan, self._folder, self.peer, self._profiler, self._progress, places)

    def fresh(self, load: Load) -> Sides:
        """Both contestants, each run on a new process with empty data."""
        ours = Side("Shoal", self.shoal, load)
        return ours, None if self.peer is None else Side(self.peer, partial(self._fresh_peer, self.peer), load)

    @contextmanager
    def standing(self, prepare: Callable[[Server], None], workers: int = 1) -> Iterator[Callable[[Load], Sides]]:
        """Both contestants as processes that stay for all runs; `prepare` gives each of them the same content."""
        with ExitStack() as running:
            ours = running.enter_context(self.shoal(workers=workers))
            prepare(ours)
            peer = None if self.peer is None else running.enter_context(self._fresh_peer(self.peer))
            if peer is not None:
                prepare(peer)

            def sides(load: Load) -> Sides:
                other = None if peer is None else standing_side(peer.name, peer, load)
                return standing_side(ours.name, ours, load), other

            yield sides

    @contextmanager
    def shoal(
        self, data: Path | None = None, workers: int = 1, environment: Mapping[str, str] | None = None
    ) -> Iterator[Server]:
        """Ourselves, on empty data where none are given; `environment` is added."""
        with self.directory() as scratch, self.places.ours() as place:
            settings = {**place, **(environment or {})}
            with processes.shoal(data or scratch / "data", scratch / "log", workers, settings) as server:
                yield server

    @contextmanager
    def _fresh_peer(self, name: str) -> Iterator[Server]:
        with self.directory() as scratch:
            data = scratch / "data"
            with self.places.peers(data) as place, processes.peer(name, data, scratch / "log", place) as server:
                yield server

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """A directory for one run. Its large files go away with the run, the rest with the folder of all data.

        ext4 leaves the inodes of files that were just removed alone for a while and has to search past them for
        every new file: what one run removes would slow the next one down.
        """
        scratch = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield scratch
        finally:
            for file in scratch.rglob("*"):
                if file.is_file() and file.stat().st_size >= _LARGE:
                    file.unlink()

    @cached_property
    def layers(self) -> LayerSource:
        """Layers of the planned size."""
        return LayerSource(self._folder / "layer", self.plan.layer_size)

    @cached_property
    def filled(self) -> Path:
        """A data directory with the planned numbers of blobs and tags."""
        data = self._folder / "filled"
        task = self._progress.add_task("filling a data directory", total=None)
        dataset.fill(data, self.plan.blobs, self.plan.tags)
        self._progress.remove_task(task)
        return data

    def _profile(self, profiler: Profiler, row: Row, ours: Side[Server]) -> None:
        with ours.lend() as server, profiler.recording(server.pid, _slug(row.name)) as file:
            ours.load(server)
        self._progress.console.print(f"where the time goes: {file}", highlight=False, soft_wrap=True)


def _one_run(side: Side[T]) -> float:
    with side.lend() as borrowed:
        os.sync()  # what an earlier run left to write is not part of this one
        return side.load(borrowed)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def progress_on(console: Console) -> Progress:
    """A bar that vanishes when it is done; where the console is no terminal it is left out."""
    return Progress(console=console, transient=True, disable=not console.is_terminal)
