"""The recipes of docs/access.md and docs/access-outside.md, as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import StartShoal
from tests.harness.administration import Commands, as_account
from tests.harness.browser import Browser
from tests.harness.oidc_provider import OidcProvider, in_background
from tests.harness.process import clean_environment
from tests.harness.server import ROOT

_DATA = "/var/lib/shoal"


def commands_below(heading: str, document: str = "access.md") -> str:
    """The first block of commands below a heading, as a script."""
    page = (ROOT / "docs" / document).read_text()
    found = re.search(rf"^### {heading}$.*?^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return "\n".join(line.removeprefix("$ ") for line in found[1].splitlines() if line.startswith("$ "))


def run(script: str, data: Path, folder: Path) -> str:
    """What the commands print, for the registry in `data` and with `folder` as the working directory."""
    shoal = f'shoal() {{ PYTHONPATH="{ROOT}" "{sys.executable}" -m registry "$@"; }}'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{shoal}\n{script.replace(_DATA, str(data))}"],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_team_its_builds_and_something_public(start_shoal: StartShoal, tmp_path: Path) -> None:
    server = start_shoal(workers=2)
    Commands("--data", server.data).add_admin()
    (tmp_path / "bobs-password").write_text("bobs own password\n")
    assert "@devs" in run(commands_below("A team, its builds, and something public"), server.data, tmp_path)

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


@pytest.mark.require("openssl")
def test_people_of_an_issuer(start_shoal: StartShoal, tmp_path: Path) -> None:
    with in_background(OidcProvider()) as provider:
        provider.claims |= {"groups": ["devs"]}
        client = {"client_id": provider.client_id, "client_secret": provider.client_secret, "groups_claim": "groups"}
        oidc = {"SHOAL_AUTH__OIDC": json.dumps([{"issuer": provider.issuer} | client])}
        server = start_shoal(workers=2, env=oidc)
        Commands("--data", server.data).add_admin()
        ann = Browser(server.url)
        ann.log_in()
        docker = as_account("ann", ann.password())

        def status(repository: str) -> int:
            return docker.get(f"{server.url}/v2/{repository}/manifests/v1", timeout=60).status_code

        assert [status(name) for name in ("team/app", "ann/app")] == [403, 403]
        run(commands_below("What they may do", "access-outside.md"), server.data, tmp_path)
        assert [status(name) for name in ("team/app", "ann/app", "other/app")] == [404, 404, 403]
        run(commands_below("Somebody who has left", "access-outside.md"), server.data, tmp_path)
        assert (status("team/app"), ann.who()) == (401, {})
