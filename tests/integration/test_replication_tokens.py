"""Replication tokens and the status of slaves: by command and API, over all workers of a server."""

from __future__ import annotations

import hashlib
import http.client
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from replication import wire
from tests.conftest import StartShoal
from tests.harness import feed
from tests.harness.accounts import ADMIN, password_of, signing_key, with_accounts
from tests.harness.administration import Commands, as_account
from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.feed import Refused, snapshot
from tests.harness.hooked import hooks
from tests.harness.server import ShoalServer

HEARTBEAT = 0.3  # seconds


@dataclass(frozen=True)
class Guarded:
    """A registry with accounts, and the token of its slave `eu`."""

    server: ShoalServer
    commands: Commands
    token: str

    def get(self, path: str, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        return requests.get(f"{self.server.url}{path}", headers=headers, timeout=30)

    def ack(self, token: str, **report: object) -> int:
        headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
        address = f"{self.server.url}{wire.BASE}/ack"
        return requests.post(address, data=json.dumps(report), headers=headers, timeout=30).status_code


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    data = tmp_path_factory.mktemp("tokens") / "data"
    secrets = with_accounts(data, ["ann"], [("ann", "**", "pull,push")], replicas=["eu"])
    with ShoalServer(data, workers=2) as server:
        yield Guarded(server, Commands("--data", data), secrets["eu"])
    assert not server.complaints()


def test_made_listed_and_taken_back(guarded: Guarded) -> None:
    commands = guarded.commands
    token = commands("replication", "token", "create", "asia").strip()
    assert token.startswith("shoal-replica-asia-")
    told = commands.run("replication", "token", "create", "africa", "--json")
    assert set(json.loads(told.stdout)) == {"name", "token"}
    assert "there is a replica of that name already" in commands.refused("replication", "token", "create", "asia")
    assert {made["name"] for made in commands.json("replication", "token", "list")} == {"africa", "asia", "eu"}
    commands("replication", "token", "create", "some", "--repo", "team/**", "--repo", "base")
    commands("replication", "token", "create", "ops", "--may-promote")
    found = {made["name"]: made for made in commands.json("replication", "token", "list")}
    assert (found["some"]["repositories"], found["ops"]["repositories"]) == (["team/**", "base"], [])
    assert (found["some"]["may_promote"], found["ops"]["may_promote"]) == (False, True)
    assert "cannot take its master's place" in commands.refused(
        "replication", "token", "create", "both", "--repo", "team/**", "--may-promote"
    )
    shown = commands("replication", "token", "list")
    assert "team/** base" in shown
    assert "asia" in shown
    assert token not in shown
    for name in ("asia", "africa", "some", "ops"):
        commands("replication", "token", "delete", name)
    assert "there is no such replica" in commands.refused("replication", "token", "delete", "asia")
    for _ in range(4):  # whichever worker answers
        answer = guarded.get(f"{wire.BASE}/snapshot", token)
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_without_a_server(tmp_path: Path) -> None:
    commands = Commands("--data", tmp_path / "data")
    commands.add_admin()
    assert commands("replication", "token", "create", "eu").startswith("shoal-replica-eu-")
    assert [made["name"] for made in commands.json("replication", "token", "list")] == ["eu"]
    assert commands.json("replication", "status") == []
    commands("replication", "token", "delete", "eu")


def test_a_token_is_for_replication_alone(guarded: Guarded) -> None:
    assert guarded.get(f"{wire.BASE}/snapshot", guarded.token).status_code == 200
    others = ("/v2/", "/v2/_catalog", "/v2/team/app/manifests/1", "/api/v1/users", "/api/v1/whoami", "/api/v1/keys")
    for path in others:
        answer = guarded.get(path, guarded.token)
        assert answer.status_code == 401, path
        assert "replication alone" in answer.text


def test_nobody_else_may_replicate(guarded: Guarded) -> None:
    """Not even an administrator: a password that is good for everything has no place on a slave."""
    for who in ((ADMIN, password_of(ADMIN)), ("ann", password_of("ann"))):
        answer = as_account(*who).get(f"{guarded.server.url}{wire.BASE}/snapshot", timeout=30)
        assert answer.status_code == 403
    nobody = requests.get(f"{guarded.server.url}{wire.BASE}/log", timeout=30)
    assert nobody.status_code == 401
    assert "a replication token is needed" in nobody.text


def test_refusals_are_in_the_audit_log_and_reports_are_not(guarded: Guarded) -> None:
    wrong = f"shoal-replica-eu-{'1' * 64}"
    assert guarded.get(f"{wire.BASE}/log", wrong).status_code == 401
    assert guarded.ack(guarded.token, stored=1, visible=1) == 204
    deadline = time.monotonic() + 20
    while True:
        told = [json.loads(line) for line in audit_log(guarded.server.data).splitlines()]
        refused = [line for line in told if line["what"] == "replication.log.get" and line["who"] == "unknown"]
        if refused or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert refused
    assert refused[0]["result"] == "unauthorized"
    assert not [line for line in told if line["what"].startswith("replication.ack")]
    assert wrong not in json.dumps(told)


def test_status_is_whole_whichever_worker_heard_it(guarded: Guarded) -> None:
    with feed.log(guarded.server.host, token=guarded.token) as stream:
        head = stream.hello().position.serial
    token = guarded.commands("replication", "token", "create", "asia").strip()
    for number in range(6):  # over connections of their own: both workers hear some
        assert guarded.ack(guarded.token, stored=head, visible=head, state="follows") == 204
        report = {"stored": head - 1, "visible": head - 3, "waiting": 2, "missing": 5000 + number, "error": "cut"}
        assert guarded.ack(token, **report) == 204
    guarded.commands("replication", "token", "delete", "asia")
    slaves = guarded.commands.json("replication", "status")
    assert [(slave["name"], slave["address"]) for slave in slaves] == [("asia", "127.0.0.1"), ("eu", "127.0.0.1")]
    asia, eu = slaves
    assert asia["missing"] == 5005
    assert asia["lag_events"] >= 3
    assert asia["lag_seconds"] > 0
    assert (asia["waiting"], asia["error"], eu["state"]) == (2, "cut", "follows")
    assert eu["visible"] == head
    shown = guarded.commands("replication", "status")
    assert "asia" in shown
    for session in (as_account("ann", password_of("ann")), as_account(ADMIN, password_of(ADMIN))):
        answer = session.get(f"{guarded.server.url}/api/v1/replication/slaves", timeout=30)
        assert answer.status_code == (200 if session.auth[0] == ADMIN else 403)  # type: ignore[index]


def test_metrics_say_how_far_slaves_are_and_name_none(guarded: Guarded) -> None:
    assert guarded.ack(guarded.token, stored=1, visible=1) == 204
    text = requests.get(f"{guarded.server.url}/metrics", timeout=30).text
    values = dict(line.split() for line in text.splitlines() if line.startswith("shoal_replication_"))
    assert float(values["shoal_replication_slaves"]) >= 1
    assert float(values["shoal_replication_lag_events"]) >= 1
    assert float(values["shoal_replication_lag_seconds"]) > 0
    assert '"eu"' not in text


def test_what_is_private_is_in_no_answer(guarded: Guarded) -> None:
    """Neither the private half of a key nor a token that was not just made; its hash is told to slaves alone."""
    _, private = signing_key(guarded.server.data)
    raw = private.private_bytes_raw()
    pem = _pem_lines(guarded.server.data)
    token_hash = hashlib.sha256(guarded.token.encode()).hexdigest().encode()
    planted = [guarded.token.rpartition("-")[2], raw.hex(), *pem]
    with snapshot(guarded.server.host, token=guarded.token) as stream:
        list(stream)
        said = stream.raw
    with feed.log(guarded.server.host, token=guarded.token) as stream:
        stream.events(stream.hello().position.serial)
        said += stream.raw
    assert token_hash in said
    to_slaves, said = said, b""
    admin = as_account(ADMIN, password_of(ADMIN))
    for path in ("/api/v1/replication/tokens", "/api/v1/replication/slaves", "/api/v1/keys", "/auth/keys", "/metrics"):
        said += admin.get(f"{guarded.server.url}{path}", timeout=30).content
    said += audit_log(guarded.server.data).encode() + guarded.server.log_text().encode()
    said += guarded.commands("replication", "token", "list").encode()
    assert token_hash not in said
    assert b"auth.replica" in to_slaves
    assert b'"kind":"key"' in to_slaves
    for secret in planted:
        assert secret.encode() not in to_slaves + said


def audit_log(data: Path) -> str:
    return "".join(file.read_text() for file in sorted((data / "audit").iterdir()) if file.is_file())


def _pem_lines(data: Path) -> list[str]:
    """What stands between the lines that begin and end the private half of the server's key."""
    with sqlite3.connect(f"file:{data / 'shoal.db'}?mode=ro", uri=True) as connection:
        found = connection.execute("SELECT private FROM access_records WHERE private != ''").fetchall()
    return [line for (text,) in found for line in text.splitlines() if len(line) > 20 and "-----" not in line]


def test_a_token_that_is_taken_back_ends_its_streams(tmp_path: Path) -> None:
    data = tmp_path / "data"
    secrets = with_accounts(data, replicas=["eu", "asia"])
    with ShoalServer(data, prefix=hooks(heartbeat=HEARTBEAT)) as server:
        eu, asia = (feed.log(server.host, token=secrets[name]) for name in ("eu", "asia"))
        for stream in (eu, asia):
            stream.events(stream.hello().position.serial)
        Commands("--data", data)("replication", "token", "delete", "eu")
        begun = time.monotonic()
        said = list(eu)
        assert time.monotonic() - begun < 3 * HEARTBEAT + 1
        assert all(isinstance(line, wire.Heartbeat | wire.Event) for line in said)
        with pytest.raises(Refused) as refused:
            feed.log(server.host, token=secrets["eu"])
        assert refused.value.status == 401
        (taken_back,) = asia.events(1)
        assert taken_back.kind == "auth.replica"
        for stream in (eu, asia):
            stream.close()
    assert not server.complaints()


def test_streams_of_everybody_end_with_the_first_account(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ShoalServer(data, prefix=hooks(heartbeat=HEARTBEAT)) as server:
        stream = feed.log(server.host)
        stream.hello()
        Commands("--data", data).add_admin()
        list(stream)
        stream.close()
        with pytest.raises(Refused) as refused:
            feed.log(server.host)
        assert refused.value.status == 401


def test_a_token_is_not_taken_where_others_can_read_it(start_shoal: StartShoal, tmp_path: Path) -> None:
    """As passwords are: over HTTPS, or from this machine."""
    token = with_accounts(tmp_path / "shoal1", replicas=["eu"])["eu"]
    server = start_shoal(settings={"server": {"trusted_proxies": ["127.0.0.0/8"]}})
    connection = http.client.HTTPConnection(server.host, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "203.0.113.9"}
    for scheme, status in (("http", 403), ("https", 200)):
        connection.request("HEAD", f"{wire.BASE}/log", headers={**headers, "X-Forwarded-Proto": scheme})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_an_image_of_small_things_is_all_there(guarded: Guarded) -> None:
    """With its token a slave gets every byte of an image that somebody else pushed."""
    image = small_image(8600)
    with RegistryClient(guarded.server.url) as client:
        client.session.auth = ("ann", password_of("ann"))
        client.push_image("team/app", image, "1")
    for blob in image.blobs:
        assert guarded.get(f"{wire.BASE}/blobs/{blob.digest}", guarded.token).content == blob.content
        assert guarded.get(f"{wire.BASE}/blobs/{blob.digest}", f"{guarded.token}0").status_code in (401, 429)
