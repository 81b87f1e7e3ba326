"""DATA/control: who gets in, what it serves, and what a crash leaves."""

from __future__ import annotations

import http.client
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from registry.commands.unix import ControlConnection
from tests.conftest import StartShoal
from tests.harness.administration import ADMIN, Commands
from tests.harness.server import ServerError, ShoalServer, free_port


def ask(data: Path, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    connection = ControlConnection(data, 30.0)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_serves_the_administration_alone(start_shoal: StartShoal, workers: int) -> None:
    server = start_shoal(workers=workers)
    file = server.data / "control"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    status, body = ask(server.data, "GET", "/api/v1/whoami")
    assert (status, json.loads(body)["is_admin"]) == (200, True)
    for path in ("/v2/", "/v2/_catalog", "/metrics", "/auth/token"):
        assert ask(server.data, "GET", path)[0] == 404, path
    new = json.dumps({"name": "alice", "password": "correct horse", "is_admin": True})
    assert ask(server.data, "POST", "/api/v1/users", new)[0] == 201
    assert server.stop() == 0
    assert not file.exists()


def test_the_audit_log_says_what_the_operator_did(start_shoal: StartShoal) -> None:
    """By the socket, and in the database while no server runs."""
    server = start_shoal()
    shoal = Commands("--data", server.data)
    shoal.add_admin()
    shoal("user", "list")
    server.stop()
    shoal("grant", "set", "anonymous", "public/**", "pull")
    lines = "".join(path.read_text() for path in sorted((server.data / "audit").iterdir())).splitlines()
    told = [(entry["who"], entry["what"], entry["target"], entry["result"]) for entry in map(json.loads, lines)]
    assert told == [
        ("operator", "addUser.post", "/api/v1/users", "done"),
        ("operator", "setGrant.put", "/api/v1/grants", "done"),
    ]
    assert "argon2" not in "".join(lines)
    shoal("audit", "verify")


def test_a_socket_that_a_crash_left_is_replaced(start_shoal: StartShoal) -> None:
    server = start_shoal()
    server.kill()
    assert (server.data / "control").exists()
    shoal = Commands("--data", server.data)
    shoal.add_admin()  # nobody listens there, so this works on the database
    server.start()
    assert ask(server.data, "GET", f"/api/v1/users/{ADMIN}")[0] == 200


@pytest.mark.require("root")
def test_only_root_and_the_servers_user_get_in(start_shoal: StartShoal) -> None:
    """The file would not let others in; where somebody opens it up, the kernel says who they are."""
    server = start_shoal()
    server.data.chmod(0o755)
    (server.data / "control").chmod(0o666)
    code = (
        "import http.client, os, socket, sys\n"
        "os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "link = socket.socket(socket.AF_UNIX)\n"
        "link.connect('control')\n"
        "connection = http.client.HTTPConnection('localhost'); connection.sock = link\n"
        "connection.request('GET', '/api/v1/users'); print(connection.getresponse().status)\n"
    )
    command = [sys.executable, "-S", "-c", code, str(server.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "403\n", done.stderr
    assert ask(server.data, "GET", "/api/v1/users")[0] == 200


def test_the_network_cannot_make_the_first_account(shoal: ShoalServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shoal.port, timeout=30)
    new = json.dumps({"name": "mallory", "password": "correct horse", "is_admin": True})
    connection.request("POST", "/api/v1/users", new, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert (response.status, b"shoal user add" in response.read()) == (403, True)
    connection.request("GET", "/api/v1/whoami")
    assert json.loads(connection.getresponse().read()) == {"name": "anonymous", "is_admin": False, "groups": []}
    connection.close()


def test_beyond_loopback_there_have_to_be_accounts(tmp_path: Path) -> None:
    """127.2 is 127.0.0.2 for the kernel, and for the settings a name that may lead anywhere."""
    data, port = tmp_path / "data", free_port()
    server = ShoalServer(data, port=port, args=["--listen", f"127.2:{port}"])
    with pytest.raises(ServerError, match=f"shoal user add NAME --admin --data {data}"):
        server.start()
    shoal = Commands("--data", data)
    shoal("user", "add", "bob", "--password-stdin", text="bobs first password\n")
    with server:
        shoal("user", "delete", "bob")
        # The last account is gone: the door stays shut.
        assert requests.get(f"{server.url}/v2/", timeout=30).status_code == 401


def test_the_greeting(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ShoalServer(data) as server:
        said = data.with_name("data.out").read_text()
        assert f"shoal user add NAME --admin --data {data}" in said
        assert "docker login" not in said
    Commands("--data", data).add_admin()
    with ShoalServer(data, port=server.port, args=["--allow-anonymous"]) as server:
        said = data.with_name("data.out").read_text()
        assert f"docker login {server.host}" in said
        assert any("allow_anonymous has no effect" in str(entry.get("event")) for entry in server.logged())
