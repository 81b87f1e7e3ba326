"""A slave of some repositories: it has those, and never learns of others."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from registry.domain.events import verify
from replication import wire
from tests.conftest import StartShoal
from tests.harness.accounts import ADMIN, password_of, with_accounts
from tests.harness.administration import Commands
from tests.harness.client import RegistryClient
from tests.harness.content import Image, small_image
from tests.harness.everything import PullsEverything
from tests.harness.feed import At, Refused, Stream
from tests.harness.hooked import hooks
from tests.harness.postgres import PostgresServer
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer

PATTERN, HEARTBEAT = "team/**", 0.3
MINE, OTHER = "team/app", "planted/secret"
HIDDEN = (OTHER, "planted", "bob", "mallory", ADMIN, "hidden-group", "elsewhere", "other-slave", password_of("bob"))


@dataclass(frozen=True)
class Guarded:
    """A master with accounts: ann and the group devs (carol) are granted something of team/**, others are not."""

    server: ShoalServer
    commands: Commands
    tokens: dict[str, str]

    def client(self, name: str = ADMIN) -> RegistryClient:
        client = RegistryClient(self.server.url)
        client.session.auth = (name, password_of(name))
        return client

    def push(self, repository: str, number: int, tag: str = "v1") -> Image:
        image = small_image(number)
        with self.client() as client:
            client.push_image(repository, image, tag)
        return image

    def stream(self, path: str, name: str = "some", **query: object) -> Stream:
        return Stream(self.server.host, path, query, self.tokens[name])

    def get(self, path: str, name: str = "some") -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[name]}", "Connection": "close"}
        return requests.get(f"{self.server.url}{wire.BASE}/{path}", headers=headers, timeout=30)

    def snapshot(self, **query: object) -> tuple[wire.Hello, list[wire.Line], bytes]:
        with self.stream("snapshot", **query) as stream:
            hello = stream.hello()
            return hello, list(stream), stream.raw


def guard(data: Path, url: str = "") -> dict[str, str]:
    tokens = with_accounts(
        data,
        ["ann", "carol", "bob", "mallory"],
        [("ann", "team/app", "pull,push"), ("@devs", "*/app", "pull"), ("bob", "planted/**", "pull")],
        groups={"devs": ["carol"], "hidden-group": ["mallory"]},
        replicas=["other-slave"],
        url=url,
    )
    commands = Commands("--data", data, *(("--database", url) if False else ()))
    for name, patterns in (("some", [PATTERN]), ("few", ["team/app"]), ("full", [])):
        options = [part for pattern in patterns for part in ("--repo", pattern)]
        tokens[name] = commands("replication", "token", "create", name, *options).strip()
    return tokens


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    data = tmp_path / "master"
    tokens = guard(data)
    with ShoalServer(data, prefix=hooks(heartbeat=HEARTBEAT)) as server:
        yield Guarded(server, Commands("--data", data), tokens)
    assert not server.complaints()


def start_slave(start_shoal: StartShoal, url: str, token: str = "", **more: Any) -> ShoalServer:
    settings = {"role": "slave", "master": url, **({"token": token} if token else {}), **more}
    return start_shoal(settings={"replication": settings})


def catalog(server: ShoalServer, name: str = "") -> list[str]:
    with RegistryClient(server.url) as client:
        if name:
            client.session.auth = (name, password_of(name))
        return sorted(client.catalog())


def shows(server: ShoalServer, image: Image, tag: str = "v1", name: str = "ann") -> bool:
    with RegistryClient(server.url) as client:
        client.session.auth = (name, password_of(name))
        answer = client.request("GET", f"/v2/{MINE}/manifests/{tag}", headers={"Accept": "*/*"})
        return answer.status_code == 200 and answer.content == image.manifest.content


def test_it_has_its_repositories_and_no_other(guarded: Guarded, start_shoal: StartShoal) -> None:
    first, _ = guarded.push(MINE, 1), guarded.push(OTHER, 2)
    slave = start_slave(start_shoal, guarded.server.url, guarded.tokens["some"])
    wait_until(lambda: shows(slave, first), "the slave shows what was there")
    guarded.push(OTHER, 3, "v2")
    second = guarded.push(MINE, 4, "v2")
    wait_until(lambda: shows(slave, second, "v2", "carol"), "the slave shows what comes, to a member of the group")
    guarded.push("team/other", 5)
    assert catalog(slave, "ann") == [MINE]
    with RegistryClient(slave.url) as client:
        client.session.auth = ("bob", password_of("bob"))
        assert client.request("GET", f"/v2/{MINE}/manifests/v1").status_code == 401
        client.session.auth = None
        assert client.request("GET", f"/v2/{MINE}/manifests/v1").status_code == 401
    kept = b"".join(file.read_bytes() for file in slave.data.rglob("*") if file.is_file() and "log" not in file.name)
    assert MINE.encode() in kept
    for word in HIDDEN[:8]:
        assert word.encode() not in kept, word
    assert slave.complaints() == []
