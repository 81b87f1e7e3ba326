"""The drill of docs/replication.md, line by line, as an administrator would run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.process import clean_environment
from tests.harness.server import ROOT, ShoalServer, free_port

_PAGE = ROOT / "docs" / "replication.md"


def drill(ports: dict[str, int]) -> str:
    """The lines of the page, on ports that are free here."""
    found = re.search(r"### A drill\n.*?```bash\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found is not None
    lines = found[1]
    for written, free in ports.items():
        lines = lines.replace(f":{written}", f":{free}")
    return f"set -m -e -o pipefail\n{lines}"


@pytest.fixture
def folder(tmp_path: Path, shared_shoal: ShoalServer) -> Path:
    """Where the drill is run: with an image, and `shoal` as a command."""
    with RegistryClient(shared_shoal.url) as client:
        client.push_image("drill/app", content.small_image(1), "v1")
    image = ["skopeo", "copy", "--src-tls-verify=false", f"docker://{shared_shoal.host}/drill/app:v1", "oci:image"]
    subprocess.run(image, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    command = tmp_path / "bin" / "shoal"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m registry "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_the_drill(folder: Path) -> None:
    ports = {written: free_port() for written in ("5001", "5002", "5003")}
    path = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    with (folder / "said").open("w+") as said:
        running = subprocess.Popen(
            ["bash", "-c", drill(ports)],
            cwd=folder,
            env=clean_environment(path),
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = running.wait(150)
        finally:
            said.seek(0)
            text = said.read()
            end_session(running.pid)
    assert code == 0, text[-3000:]
    assert "epoch 2 (" in text
    assert "epoch 3 (" in text
    assert "Nothing was lost" in text
    assert "Traceback" not in text


def end_session(session: int) -> None:
    """All that the shell started: each of its jobs is a group of its own."""
    found = subprocess.run(["ps", "-s", str(session), "-o", "pid="], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended by itself
