"""Registries as processes: they are found, measured and gone afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.load.http import Connection, LoadError
from benchmarks.places import OnDisk


def test_shoal_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    with processes.shoal(tmp_path / "data", tmp_path / "log", workers=2, environment={}) as server:
        pids = server.pids()
        assert len(pids) == 3
        with Connection(server.port) as connection:
            assert connection.request("GET", "/v2/").status == 200
        assert 10e6 < server.peak_memory() < 1e9
        assert 0 < server.started_in < 120
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert '"path":"/v2/"' in (tmp_path / "log").read_text()


@pytest.mark.require("docker-registry")
def test_peer_keeps_an_access_log_and_metrics(tmp_path: Path) -> None:
    name = processes.peer_name()
    assert name is not None
    assert name.startswith("docker-registry 2.")
    data = tmp_path / "data"
    with (
        OnDisk().peers(data) as place,
        processes.peer(name, data, tmp_path / "log", place) as server,
        Connection(server.port) as connection,
    ):
        assert connection.request("GET", "/v2/").status == 200
    assert '"GET /v2/ HTTP/1.1" 200' in (tmp_path / "log").read_text()


def test_no_peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processes.peer_name() is None


def test_what_a_server_said_when_it_did_not_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no directory")
    with (
        pytest.raises(LoadError, match=r"(?s)Shoal did not start.*is a file"),
        processes.shoal(tmp_path / "data", tmp_path / "log", workers=1, environment={}),
    ):
        pass


def test_peak_memory_of_the_largest_process() -> None:
    big = "x = bytearray(200_000_000); print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", big], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        server = processes.Server("this", 1, os.getpid(), 0.0)
        assert child.pid in server.pids()
        assert server.peak_memory() > 200_000_000
        child.communicate(b"\n")
