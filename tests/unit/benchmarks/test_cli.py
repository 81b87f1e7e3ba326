"""`shoal bench registry`, as it is called."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCH = [sys.executable, "-m", "registry", "bench"]
COMMAND = [*BENCH, "registry"]


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=200, check=False
    )


def test_rows_and_nothing_left(tmp_path: Path) -> None:
    done = run("--quick", "--json", "--no-peer", "--only", "blobs", "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["name"] == "blob HEAD, 32 connections"
    assert row["value"] > 100
    assert (row["peer"], row["peer_value"], row["ratio"], row["met"]) == (None, None, None, None)
    assert len(row["runs"]["value"]) == 3
    assert "processors" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.require("wrk")
def test_in_an_object_store(tmp_path: Path) -> None:
    arguments = ["--quick", "--json", "--no-peer", "--only", "redirects", "--only", "push", "--size", "20MiB"]
    done = subprocess.run(
        [*BENCH, "storage", *arguments, "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pushed, beside_boto3, redirected = sorted(json.loads(done.stdout), key=lambda row: str(row["name"]))
    assert pushed["value"] > 1
    assert beside_boto3["peer"] == "plain boto3"
    assert redirected["value"] > 100
    assert list(tmp_path.iterdir()) == []


def test_without_the_peer_it_says_how_to_get_it(tmp_path: Path) -> None:
    done = run("--quick", "--only", "blobs", "--data-dir", tmp_path, env={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "apt-get install docker-registry" in done.stderr
    assert "blob HEAD, 32 connections" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--size", "huge"], "expected a size"),
        (["--size", "10"], "expected at least 1 MiB"),
        (["--only", "nothing"], "manifests"),
        (["--size", "100TB"], "--data-dir"),
    ],
)
def test_what_it_cannot_do(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = run(*arguments, "--data-dir", tmp_path)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_told_to_end_it_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--only", "blobs", "--no-peer", "--data-dir", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/*/data/shoal.db")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
