"""`shoal user`, `robot`, `group`, `grant` and `token`: with a server on the data, without one, and over the network."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.administration import ADMIN, PASSWORD, Commands, may_log_in
from tests.harness.certificates import Authority
from tests.harness.process import clean_environment
from tests.harness.server import ROOT, ShoalServer


@dataclass(frozen=True)
class Place:
    """A registry with an administrator; `server` is None where none runs."""

    commands: Commands
    server: ShoalServer | None

    def may_log_in(self, name: str, password: str) -> bool:
        """Asked twice, so that often both workers have to say so; more wrong passwords would be slowed down."""
        if self.server is None:
            return True
        answers = {may_log_in(self.server.url, name, password) for _ in range(2)}
        assert len(answers) == 1, "the workers do not agree"
        return answers.pop()


slow = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("no server", marks=slow),
        pytest.param("one worker", marks=slow),
        "two workers",
        pytest.param("over the network", marks=slow),
    ],
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # The path is longer than an address of a unix socket may be.
    data = tmp_path_factory.mktemp("place") / ("a-long-name-" * 10) / "data"
    commands = Commands("--data", data)
    commands.add_admin()
    if request.param == "no server":
        yield Place(commands, None)
        return
    with ShoalServer(data, workers=2 if request.param == "two workers" else 1) as server:
        if request.param == "over the network":
            env = {"SHOAL_USER": ADMIN, "SHOAL_PASSWORD": PASSWORD}
            commands = Commands("--server", server.url, env=env)
        yield Place(commands, server)
    assert not server.complaints()


def test_a_user_from_the_first_password_to_the_end(place: Place) -> None:
    shoal = place.commands
    shoal("user", "add", "bob", "--password-stdin", text="bobs first password\n")
    assert place.may_log_in("bob", "bobs first password")
    shoal("user", "passwd", "bob", "--password-stdin", text="bobs second password\n")
    assert place.server is None or not place.may_log_in("bob", "bobs first password")
    assert place.may_log_in("bob", "bobs second password")
    shoal("user", "disable", "bob")
    assert place.server is None or not place.may_log_in("bob", "bobs second password")
    users = {user["name"]: user for user in shoal.json("user", "list")}
    assert (users["bob"]["is_disabled"], users["bob"]["is_admin"]) == (True, False)
    assert set(users["bob"]) == {"name", "is_admin", "is_disabled", "created"}
    shoal("user", "enable", "bob")
    shoal("user", "admin", "bob")
    assert place.may_log_in("bob", "bobs second password")
    assert "bob" in shoal("user", "list")
    shoal("user", "delete", "bob")
    assert place.server is None or not place.may_log_in("bob", "bobs second password")
    assert [user["name"] for user in shoal.json("user", "list")] == [ADMIN]


def test_a_robot_and_its_secrets(place: Place) -> None:
    shoal = place.commands
    made = shoal.run(
        "robot", "create", "ci", "--grant", "team/**=pull,push", "--grant", "base/*=pull", "--expires", "90d"
    )
    secret = made.stdout.removesuffix("\n")
    assert secret.isascii()
    assert len(secret) >= 40
    assert place.may_log_in("ci", secret)
    assert shoal.json("grant", "list", "ci") == [
        {"subject": "ci", "pattern": "base/*", "rights": "pull"},
        {"subject": "ci", "pattern": "team/**", "rights": "pull,push"},
    ]
    (robot,) = shoal.json("robot", "list")
    assert set(robot) == {"name", "is_disabled", "created", "expires"}
    renewed = shoal.json("robot", "renew", "ci")
    assert renewed["expires"] == robot["expires"]
    assert place.server is None or not place.may_log_in("ci", secret)
    assert place.may_log_in("ci", renewed["secret"])
    assert "no such user" in shoal.refused("user", "delete", "ci")
    shoal("robot", "delete", "ci")
    assert shoal.json("robot", "list") == shoal.json("grant", "list", "ci") == []


def test_groups_and_grants(place: Place) -> None:
    shoal = place.commands
    shoal("user", "add", "carol", "--password-stdin", text="carols password\n")
    shoal("group", "add", "devs", "carol")
    shoal("group", "add", "devs", ADMIN)
    assert shoal.json("group", "list") == [{"name": "devs", "members": ["carol", ADMIN]}]
    shoal("grant", "set", "@devs", "team/**", "push,pull")
    shoal("grant", "set", "anonymous", "public/**", "pull")
    assert shoal.json("grant", "list", "--repository", "team/app") == [
        {"subject": "@devs", "pattern": "team/**", "rights": "pull,push"}
    ]
    shoal("grant", "set", "@devs", "team/**", "pull")
    assert shoal.json("grant", "list", "@devs")[0]["rights"] == "pull"
    shoal("grant", "delete", "@devs", "team/**")
    shoal("grant", "delete", "anonymous", "public/**")
    assert shoal.json("grant", "list") == []
    shoal("user", "delete", "carol")
    shoal("group", "remove", "devs", ADMIN)
    assert shoal.json("group", "list") == []


def test_the_next_signing_key(place: Place) -> None:
    shoal = place.commands
    before = {key["id"] for key in shoal.json("token", "keys", "list")}
    shoal("token", "keys", "rotate")
    keys = shoal.json("token", "keys", "list")
    assert before < {key["id"] for key in keys}
    assert len([key for key in keys if key["retired"] is None]) == 1
    shoal("token", "keys", "rotate", "--revoke")
    (left,) = shoal.json("token", "keys", "list")
    assert left["id"] not in {key["id"] for key in keys}


def test_what_is_refused_is_one_line_that_says_why(place: Place) -> None:
    shoal = place.commands
    assert "somebody has to remain" in shoal.refused("user", "delete", ADMIN)
    assert "somebody has to remain" in shoal.refused("user", "disable", ADMIN)
    assert "somebody has to remain" in shoal.refused("user", "admin", ADMIN, "--no")
    assert "already" in shoal.refused("user", "add", ADMIN, "--password-stdin", text="another password\n")
    assert "8 to 512" in shoal.refused("user", "add", "dave", "--password-stdin", text="short\n")
    assert "--password-stdin" in shoal.refused("user", "add", "dave")
    assert "a-z" in shoal.refused("user", "add", "Dave", "--password-stdin", text="another password\n")
    assert "no such user" in shoal.refused("user", "disable", "nobody")
    assert "no such" in shoal.refused("group", "add", "devs", "nobody")
    assert "PATTERN=RIGHTS" in shoal.refused("robot", "create", "ci", "--grant", "team")
    assert "--expires soon" in shoal.refused("robot", "create", "ci", "--expires", "soon")
    assert "pull, push and delete" in shoal.refused("grant", "set", "ci", "team/**", "write")
    assert "no such grant" in shoal.refused("grant", "delete", "ci", "team/**")
    assert [user["name"] for user in shoal.json("user", "list")] == [ADMIN]


def test_the_way_to_the_registry(tmp_path: Path) -> None:
    assert "name another with --data" in Commands("--data", tmp_path / "absent").refused("user", "list")
    assert "does not answer" in Commands("--server", "http://127.0.0.1:1", env={"SHOAL_PASSWORD": "x"}).refused(
        "user", "list", "--user", "alice"
    )
    assert "https://" in Commands("--server", "http://registry.example", env={"SHOAL_PASSWORD": "x"}).refused(
        "user", "list", "--user", "alice"
    )
    assert "--user" in Commands("--server", "http://127.0.0.1:1").refused("user", "list")


def test_accounts_need_no_bucket(tmp_path: Path) -> None:
    """The object store does not answer; who may log in is none of its business."""
    settings = tmp_path / "shoal.toml"
    settings.write_text(
        '[storage]\nkind = "s3"\nbucket = "b"\nendpoint = "http://127.0.0.1:1"\naccess_key = "a"\nsecret_key = "s"\n'
    )
    shoal = Commands("--data", tmp_path / "data", "--config", settings)
    shoal.add_admin()
    assert [user["name"] for user in shoal.json("user", "list")] == [ADMIN]


@pytest.mark.require("openssl")
def test_over_tls(tmp_path: Path) -> None:
    """By an authority that --ca-file names, and by none that nobody named; the socket needs no certificate."""
    authority = Authority(tmp_path / "authority")
    pair = authority.server("registry")
    tls = {"cert": str(pair.certificate), "key": str(pair.key)}
    env = {"SHOAL_USER": ADMIN, "SHOAL_PASSWORD": PASSWORD}
    with ShoalServer(tmp_path / "data", tls=tls) as server:
        Commands("--data", server.data).add_admin()
        trusting = Commands("--server", server.url, "--ca-file", authority.ca, env=env)
        assert [user["name"] for user in trusting.json("user", "list")] == [ADMIN]
        assert "--ca-file" in Commands("--server", server.url, env=env).refused("user", "list")


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "registry", "user", "add", ADMIN, "--data", str(tmp_path / "data")]
    asking = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    said = b""
    for prompt in (b"Password for alice:", b"confirmation:"):
        while prompt not in said:
            said += os.read(master, 1000)
        os.write(master, f"{PASSWORD}\n".encode())
    while b"can log in" not in said:
        said += os.read(master, 1000)
    assert asking.wait(60) == 0
    os.close(master)
    assert PASSWORD.encode() not in said
