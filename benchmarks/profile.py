"""Where the time of a running registry goes, by py-spy, as a flame graph."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.http import LoadError

_RATE = 200
_PATIENCE = 30.0


def find_program() -> str | None:
    """py-spy beside this interpreter or on PATH; None where there is none."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


class Profiler:
    """Records to files in a folder."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder

    @contextmanager
    def recording(self, pid: int, name: str) -> Iterator[Path]:
        """Record a process and its children while the context lasts; yields the file that is written at its end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{name}.svg"
        command = [self._program, "record", "--pid", str(pid), "--subprocesses", "--threads", "--rate", str(_RATE)]
        recorder = subprocess.Popen(
            [*command, "--output", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            time.sleep(1)  # py-spy reads the symbols first
            yield file
        finally:
            recorder.send_signal(signal.SIGINT)
            told, _ = recorder.communicate(timeout=_PATIENCE)
        if not file.exists():
            raise LoadError(f"py-spy wrote no profile: {told}")
