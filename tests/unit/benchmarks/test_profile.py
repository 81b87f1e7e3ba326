"""Profiles by py-spy."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.profile import Profiler, find_program


@pytest.mark.require("py-spy", "root")
def test_flame_graph_of_a_running_process(tmp_path: Path) -> None:
    program = find_program()
    assert program is not None
    work = "def burn():\n while True: sum(range(1000))\nburn()"
    with subprocess.Popen([sys.executable, "-c", work]) as busy:
        with Profiler(program, tmp_path / "profiles").recording(busy.pid, "busy") as file:
            assert busy.poll() is None
        assert file == tmp_path / "profiles" / "busy.svg"
        assert "burn" in file.read_text()
        busy.terminate()
