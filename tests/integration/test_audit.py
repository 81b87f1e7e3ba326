"""Who did what: what of the requests of a server is in its audit log, and what never is in any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from tests.conftest import StartShoal
from tests.harness.administration import ADMIN, PASSWORD, Commands
from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.process import wait_until

Line = dict[str, object]


def lines(data: Path) -> list[Line]:
    found = [file.read_text().splitlines() for file in sorted((data / "audit").glob("*.ndjson"))]
    return [json.loads(text) for file in found for text in file]


@pytest.mark.parametrize("workers", [1, 2])
def test_changes_logins_refusals_and_tokens(start_shoal: StartShoal, workers: int) -> None:
    server = start_shoal(workers=workers)
    shoal, item = Commands("--data", server.data), small_image(1)
    shoal("user", "add", ADMIN, "--admin", "--password-stdin", text=f"{PASSWORD}\n")
    planted = ["a planted wrong password", "a-planted-name-that-is-a-password", PASSWORD]
    with RegistryClient(server.url) as client:
        client.session.auth = (ADMIN, PASSWORD)
        client.push_image("team/app", item, "v1")
        client.delete_manifest("team/app", item.digest)
    token = requests.get(f"{server.url}/auth/token", auth=(ADMIN, PASSWORD), timeout=30).json()["token"]
    planted.append(token)
    for name, password in ((ADMIN, planted[0]), (planted[1], "whatever it is")):
        assert requests.get(f"{server.url}/v2/", auth=(name, password), timeout=30).status_code == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{server.url}/v2/team/app/tags/list", headers=bearer, timeout=30).status_code == 401
    assert requests.get(f"{server.url}/v2/", timeout=30).status_code == 401, "a challenge is nothing to write down"

    wanted = [
        ("operator", "addUser.post", "done"),
        (ADMIN, "upload.put", "done"),
        (ADMIN, "manifest.put", "done"),
        (ADMIN, "manifest.delete", "done"),
        (ADMIN, "token.get", "done"),
        (ADMIN, "version.get", "unauthorized"),
        ("unknown", "version.get", "unauthorized"),
        (ADMIN, "tags.get", "unauthorized"),
    ]

    def told() -> set[tuple[object, ...]]:
        return {(line["who"], line["what"], line["result"]) for line in lines(server.data)}

    wait_until(lambda: set(wanted) <= told(), f"all is written down: {set(wanted) - told()}")
    assert not [line for line in lines(server.data) if line["who"] == "anonymous"]
    assert {line["origin"] for line in lines(server.data) if line["who"] == ADMIN} == {"127.0.0.1"}
    assert json.loads(shoal("audit", "verify", "--json"))["whole"]
    exported = [json.loads(text) for text in shoal("audit", "export", "--who", ADMIN).splitlines()]
    assert [line["target"] for line in exported if line["what"] == "manifest.put"] == ["/v2/team/app/manifests/v1"]
    server.stop()
    for file in (server.log, *(server.data / "audit").iterdir()):
        text = file.read_text()
        assert not [secret for secret in planted if secret in text], file


def test_a_log_that_was_changed_is_told(start_shoal: StartShoal) -> None:
    server = start_shoal()
    with RegistryClient(server.url) as client:
        client.push_image("team/app", small_image(1), "v1")
    server.stop()
    (file,) = (server.data / "audit").iterdir()
    file.write_text(file.read_text().replace("v1", "v2", 1))
    shoal = Commands("--data", server.data)
    assert "was changed" in shoal.run("audit", "verify", status=1).stdout
    assert not json.loads(shoal.run("audit", "verify", "--json", status=1).stdout)["whole"]
