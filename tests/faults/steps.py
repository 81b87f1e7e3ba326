"""Named points of a server at which it is killed, or at which a call fails, without hooks in the product.

A small library is preloaded into the server (steps.c). It counts every write, sync, rename, unlink,
truncation and read of the data directory's files and every answer to a client, over all threads and
processes, and hits the step that the test chose: before it happens, which is after the one before it.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import subprocess
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from tests.harness.process import clean_environment, run
from tests.harness.server import ROOT

SOURCE = Path(__file__).with_name("steps.c")
REMEMBERED = 8192


class Step(IntEnum):
    """Kinds of steps, as in steps.c."""

    WRITE = 0
    SYNC = 1
    RENAME = 2
    UNLINK = 3
    TRUNCATE = 4
    ANSWER = 5
    READ = 6


CHANGES = (Step.WRITE, Step.SYNC, Step.RENAME, Step.UNLINK, Step.TRUNCATE, Step.ANSWER)
"""All that a kill can come between."""


class _Control(ctypes.Structure):
    mask: int
    first: int
    last: int
    error: int
    count: int
    victim: int
    kinds: ctypes.Array[ctypes.c_uint8]
    _fields_ = (
        ("mask", ctypes.c_uint64),
        ("first", ctypes.c_uint64),
        ("last", ctypes.c_uint64),
        ("error", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("victim", ctypes.c_uint64),
        ("kinds", ctypes.c_uint8 * REMEMBERED),
    )


def build(folder: Path) -> Path:
    """Compiles the library; returns its path."""
    library = folder / "steps.so"
    run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE])
    return library


class Steps:
    """Counts and hits the steps of what runs with `environment`: those in its directory `data`, or in `below` of it."""

    def __init__(self, library: Path, data: Path, below: str = "") -> None:
        control = data.with_name(data.name + ".steps")
        control.write_bytes(bytes(ctypes.sizeof(_Control)))
        self.environment = {
            "LD_PRELOAD": str(library),
            "STEPS_CONTROL": str(control),
            "STEPS_ROOT": f"{data / below}/",
        }
        with control.open("r+b") as file:
            self._control = _Control.from_buffer(mmap.mmap(file.fileno(), 0))

    def watch(self, *kinds: Step, hit: int = 0, until: int | None = None, error: int = 0) -> None:
        """Count from 0 again. The steps `hit` to `until` of these kinds are hit (0: none): SIGKILL, or `error`."""
        self._control.mask = 0
        self._control.count = self._control.victim = 0
        self._control.first = hit or 2**63
        self._control.last = (until or hit) or 2**63
        self._control.error = error
        self._control.mask = sum(1 << kind for kind in kinds)

    def ignore(self) -> None:
        """Let everything pass."""
        self._control.mask = 0

    def kill(self, command: Sequence[str], step: Step, hit: int) -> None:
        """Run a command that is killed before this step; raises AssertionError where it comes to its end."""
        self.watch(step, hit=hit)
        done = subprocess.run(command, cwd=ROOT, env=clean_environment(self.environment), check=False)
        assert done.returncode == -signal.SIGKILL, f"it ended with status {done.returncode}, before step {hit}"

    @property
    def was_hit(self) -> bool:
        """Whether the step that was chosen has come."""
        return bool(self._control.count >= self._control.first)

    @property
    def victim(self) -> int:
        """The id of the process that was killed; 0 while none was."""
        return int(self._control.victim)

    @property
    def taken(self) -> list[Step]:
        """The steps since the last `watch`, in order."""
        return [Step(kind) for kind in self._control.kinds[: min(self._control.count, REMEMBERED)]]
