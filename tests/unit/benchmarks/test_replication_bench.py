"""`shoal bench replication`, as it is called, and the arithmetic of its rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.replication import plots
from benchmarks.replication.arena import at_percentile, percentile
from benchmarks.report import Goal
from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.everything import wait_until_same

COMMAND = [sys.executable, "-m", "registry", "bench", "replication"]


def run(*arguments: str | Path, timeout: float = 250) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )


def test_percentiles() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7.0], 0.99) == 7
    row = at_percentile("lag", "ms", Goal("value", "most", 60), 0.5, values, "other", [100.0, 200.0, 300.0])
    assert (row.value, row.peer_value, row.ratio, row.met) == (50, 200, 0.25, True)
    assert len(row.runs.value) == 100


def test_a_pair_that_runs_is_left_as_it_was(start_shoal: StartShoal, tmp_path: Path) -> None:
    master = start_shoal()
    slave = start_shoal(settings={"replication": {"role": "slave", "master": master.url}})
    arguments = ["--master", master.url, "--slave", slave.url, "--repository", "team/bench", "--quick", "--json"]
    done = run(*arguments, "--plots", tmp_path / "plots", "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    middle, worst = json.loads(done.stdout)
    assert 0 < middle["value"] <= worst["value"] < 10_000
    assert len(middle["runs"]["value"]) == 10
    with RegistryClient(master.url) as client:
        assert client.tags("team/bench") == []
    wait_until_same(master.url, slave.url)
    assert (tmp_path / "plots" / "lag.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "plots" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page.replace(slave.url, "")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--master", "http://127.0.0.1:1"], "name both"),
        (["--master", "http://127.0.0.1:1", "--slave", "http://127.0.0.1:1"], "Connection refused"),
        (["--only", "nothing"], "throughput"),
    ],
)
def test_what_it_cannot_do(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert done.returncode != 0
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.require("root", "skopeo")
@pytest.mark.timeout(1200)
def test_all_of_it_on_hosts_of_its_own(tmp_path: Path) -> None:
    done = run("--quick", "--json", "--data-dir", tmp_path / "data", "--plots", tmp_path / "plots", timeout=1100)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) > 15
    assert all(row["value"] >= 0 for row in rows)
    assert len(list((tmp_path / "plots").glob("*.png"))) == 6


def test_goals_are_shown_where_they_lie() -> None:
    beside = at_percentile("copy", "s", Goal("ratio", "most", 2), 0.5, [30.0], "other", [10.0])
    alone = at_percentile("lag", "ms", Goal("value", "most", 60.5), 0.5, [30.0])
    assert [plots._bound(row) for row in (beside, alone, at_percentile("lag", "ms", None, 0.5, [1.0]))] == [
        20,
        60.5,
        None,
    ]
