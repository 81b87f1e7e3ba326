"""The recipe of docs/access.md with accounts, robots and groups, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import requests

from tests.conftest import StartShoal
from tests.harness.administration import Commands, as_account
from tests.harness.process import clean_environment
from tests.harness.server import ROOT

_DATA = "/var/lib/shoal"


def commands_below(heading: str) -> str:
    """The first block of commands below a heading, as a script."""
    page = (ROOT / "docs" / "access.md").read_text()
    found = re.search(rf"^### {heading}$.*?^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return "\n".join(line.removeprefix("$ ") for line in found[1].splitlines() if line.startswith("$ "))


def test_a_team_its_builds_and_something_public(start_shoal: StartShoal, tmp_path: Path) -> None:
    server = start_shoal(workers=2)
    Commands("--data", server.data).add_admin()
    (tmp_path / "bobs-password").write_text("bobs own password\n")
    script = commands_below("A team, its builds, and something public").replace(_DATA, str(server.data))
    shoal = f'shoal() {{ PYTHONPATH="{ROOT}" "{sys.executable}" -m registry "$@"; }}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{shoal}\n{script}"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "@devs" in done.stdout

    def may(repository: str, name: str = "", password: str = "") -> bool:
        """Whether a pull is let in; there is no such image, and who has no right is not told."""
        session = as_account(name, password) if name else requests.Session()
        status = session.get(f"{server.url}/v2/{repository}/manifests/v1", timeout=60).status_code
        return status == 404

    secret = (tmp_path / "ci-secret").read_text().strip()
    rights = {
        ("bob", "bobs own password"): ["team/app", "public/app"],
        ("ci", secret): ["team/app", "base/alpine", "public/app"],
        ("", ""): ["public/app"],
    }
    for who, repositories in rights.items():
        every = ("team/app", "base/alpine", "public/app", "other/app")
        assert [name for name in every if may(name, *who)] == repositories, who
    assert not server.complaints()
