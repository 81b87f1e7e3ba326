"""Clients that log in: each with its own way to a token, to private repositories beside public ones."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeContext
from tests.harness.accounts import password_of, signing_key, with_accounts
from tests.harness.client import RegistryClient
from tests.harness.containerd import Containerd
from tests.harness.content import image, random_layer, small_image, write_layout
from tests.harness.dockerd import Dockerd
from tests.harness.hooked import Hooks, hooks
from tests.harness.podman import Podman
from tests.harness.process import run
from tests.harness.server import ShoalServer

USERS = ("maker", "reader", "changing", "leaving")
GRANTS = [
    ("maker", "team/**", "pull,push,delete"),
    ("maker", "public/**", "pull,push"),
    ("changing", "team/**", "pull,push"),
    ("leaving", "team/**", "pull"),
    ("reader", "team/**", "pull"),
    ("anonymous", "public/**", "pull"),
]
PLAIN = "--tls-verify=false"
PUBLIC = image(random_layer(20_000, 7401))
ORAS = """
import sys, oras.client
host, user, password, action, target, file = sys.argv[1:]
client = oras.client.OrasClient(insecure=True)
client.login(hostname=host, username=user, password=password, tls_verify=False, config_path=sys.argv[0])
client.push(target=target, files=[file]) if action == "push" else client.pull(target=target, outdir=file)
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShoalServer]:
    """A server with accounts; public/app:1 is for everybody. It must not log errors."""
    data = tmp_path_factory.mktemp("accounts") / "data"
    with_accounts(data, USERS, GRANTS)
    with ShoalServer(data, prefix=hooks()) as server:
        with maker(server) as client:
            client.push_image("public/app", PUBLIC, "1")
            client.push_image("team/base", small_image(7402), "1")
        yield server
    assert not server.complaints()


def maker(server: ShoalServer) -> RegistryClient:
    client = RegistryClient(server.url)
    client.session.auth = ("maker", password_of("maker"))
    return client


def login(docker: Dockerd, server: ShoalServer, name: str, password: str = "", *, fails: bool = False) -> str:
    words = ["login", "--username", name, "--password", password or password_of(name), server.host]
    return docker.docker(*words, fails=fails)


def credentials(name: str) -> str:
    return f"{name}:{password_of(name)}"


@pytest.mark.require("dockerd", "docker", "gcc", "root")
class TestDocker:
    """By the identity token that logging in returns, in a POST; and by GET where nobody has logged in."""

    def test_login_push_pull_logout(self, docker: Dockerd, guarded: ShoalServer, make_context: MakeContext) -> None:
        name = f"{guarded.host}/team/docker:1"
        built = docker.build(name, make_context("for those who may"))
        assert "unauthorized: authentication required: log in first" in docker.docker("push", name, fails=True)
        guarded.wait_for_log(lambda entry: entry.get("status") == 401 and entry.get("method") == "POST")
        refused = [
            entry
            for entry in guarded.logged()
            if entry.get("status") == 401 and entry.get("path") == "/v2/team/docker/blobs/uploads/"
        ]
        assert len(refused) <= 2, "dockerd did not try again"
        login(docker, guarded, "maker")
        stored = json.loads((docker.root / "config/config.json").read_text())["auths"][guarded.host]
        assert stored["identitytoken"]
        assert password_of("maker") not in base64.b64decode(stored["auth"]).decode()

        docker.docker("push", name)
        docker.remove(name)
        docker.docker("pull", name)
        assert docker.image_id(name) == built

        docker.docker("logout", guarded.host)
        docker.remove(name)
        assert "unauthorized" in docker.docker("pull", name, fails=True)

    @pytest.mark.parametrize("who", ["", "reader"])
    def test_public_beside_private_with_one_configuration(
        self, docker: Dockerd, guarded: ShoalServer, who: str
    ) -> None:
        if who:
            login(docker, guarded, who)
        public, private = f"{guarded.host}/public/app:1", f"{guarded.host}/team/base:1"
        docker.docker("pull", public)
        docker.docker("pull", private, fails=not who)
        docker.docker("push", public, fails=True)
        docker.remove(public)
        if who:
            docker.docker("logout", guarded.host)

    def test_a_wrong_password_is_told(self, docker: Dockerd, guarded: ShoalServer) -> None:
        printed = login(docker, guarded, "maker", "not the password", fails=True)

        assert "the name or the password is wrong" in printed

    def test_a_password_that_changed_since(
        self, docker: Dockerd, guarded: ShoalServer, make_context: MakeContext
    ) -> None:
        name = f"{guarded.host}/team/changing:1"
        docker.build(name, make_context("pushed before"))
        login(docker, guarded, "changing")
        docker.docker("push", name)
        docker.remove(name)

        Hooks(guarded).accounts("set_password", "changing", "quite another password")

        docker.docker("pull", name, fails=True)
        login(docker, guarded, "changing", fails=True)
        login(docker, guarded, "changing", "quite another password")
        docker.docker("pull", name)
        docker.docker("logout", guarded.host)

    @pytest.mark.parametrize("minutes", [-5, 5])
    def test_clocks_that_differ(self, docker: Dockerd, make_context: MakeContext, tmp_path: Path, minutes: int) -> None:
        """The server's is minutes off from the client's."""
        with_accounts(tmp_path / "data", ["maker"], [("maker", "**", "pull,push")])
        with ShoalServer(tmp_path / "data", prefix=hooks(clock=60.0 * minutes)) as server:
            name = f"{server.host}/off/app:1"
            built = docker.build(name, make_context("another time"))
            login(docker, server, "maker")
            docker.docker("push", name)
            docker.remove(name)
            docker.docker("pull", name)
            assert docker.image_id(name) == built


@pytest.mark.require("podman", "buildah", "skopeo", "root")
class TestPodman:
    """podman, buildah and skopeo: by GET with the password each time."""

    def test_login_push_pull_logout(self, containers: Podman, guarded: ShoalServer, tmp_path: Path) -> None:
        name = f"{guarded.host}/team/podman:1"
        item = image(random_layer(30_000, 7403))
        containers.skopeo("copy", f"oci:{write_layout(item, '1', tmp_path / 'made')}:1", f"dir:{tmp_path / 'dir'}")
        containers.podman("pull", f"dir:{tmp_path / 'dir'}")
        local = item.config.digest.removeprefix("sha256:")
        containers.podman("push", PLAIN, local, name, fails=True)
        words = ["login", PLAIN, "--username", "maker", "--password"]
        containers.podman(*words, "not the password", guarded.host, fails=True)
        containers.podman(*words, password_of("maker"), guarded.host)

        containers.podman("push", PLAIN, local, name)
        containers.podman("rmi", "--force", local)
        containers.podman("pull", PLAIN, name)
        assert containers.image_id(name) == item.config.digest
        containers.buildah("push", PLAIN, name, f"docker://{guarded.host}/team/buildah:1")

        containers.podman("logout", guarded.host)
        containers.podman("rmi", "--force", name)
        containers.podman("pull", PLAIN, name, fails=True)
        containers.podman("pull", PLAIN, f"{guarded.host}/public/app:1")
        containers.podman("push", PLAIN, f"{guarded.host}/public/app:1", fails=True)

    def test_credentials_on_the_command_line(self, containers: Podman, guarded: ShoalServer, tmp_path: Path) -> None:
        item = small_image(7404)
        layout = f"oci:{write_layout(item, '1', tmp_path / 'made')}:1"
        target = f"docker://{guarded.host}/team/skopeo:1"
        containers.skopeo(
            "copy", "--dest-tls-verify=false", "--dest-creds", credentials("reader"), layout, target, fails=True
        )
        containers.skopeo("copy", "--dest-tls-verify=false", "--dest-creds", credentials("maker"), layout, target)
        listed = containers.skopeo(
            "list-tags", PLAIN, "--creds", credentials("reader"), f"docker://{guarded.host}/team/skopeo"
        )
        assert json.loads(listed)["Tags"] == ["1"]
        containers.skopeo("inspect", PLAIN, target, fails=True)
        containers.skopeo("inspect", PLAIN, f"docker://{guarded.host}/public/app:1")
        # A mount from one repository into another needs both scopes in one token.
        containers.skopeo(
            "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", credentials("maker"),
            "--dest-creds", credentials("maker"), target, f"docker://{guarded.host}/team/copied:1",
        )  # fmt: skip
        containers.skopeo("delete", PLAIN, "--creds", credentials("reader"), target, fails=True)
        containers.skopeo("delete", PLAIN, "--creds", credentials("maker"), target)
        with maker(guarded) as client:
            client.check_image("team/copied", item, "1")
            assert client.resolve("team/skopeo", "1") is None


@pytest.mark.require("containerd", "ctr", "root")
def test_ctr(ctr: Containerd, guarded: ShoalServer) -> None:
    """By the password grant, in a POST; the scope comes from the challenge."""
    source, target = f"{guarded.host}/team/base:1", f"{guarded.host}/team/ctr:1"
    pull = ["images", "pull", "--plain-http"]
    ctr.ctr(*pull, source, fails=True)
    assert "401" in ctr.ctr(*pull, "--user", "reader:not the password", source, fails=True)
    ctr.ctr(*pull, "--user", credentials("reader"), source)
    ctr.ctr("images", "tag", source, target)
    ctr.ctr("images", "push", "--plain-http", "--user", credentials("reader"), target, fails=True)
    ctr.ctr("images", "push", "--plain-http", "--user", credentials("maker"), target)
    ctr.ctr(*pull, f"{guarded.host}/public/app:1")
    with maker(guarded) as client:
        client.check_image("team/ctr", small_image(7402), "1")


@pytest.mark.require("python:oras")
def test_python_oras(guarded: ShoalServer, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    target = f"{guarded.host}/team/oras:1"

    def oras(who: str, action: str, file: str, *, fails: bool = False) -> None:
        words = [guarded.host, who, password_of(who), action, target, file]
        env = {"DOCKER_CONFIG": str(tmp_path), "HOME": str(tmp_path)}
        script = tmp_path / "client.py"
        script.write_text(ORAS.replace("config_path=sys.argv[0]", f"config_path={str(tmp_path / 'config.json')!r}"))
        run([sys.executable, script, *words], cwd=tmp_path, env=env, fails=fails)

    oras("reader", "push", "model.bin", fails=True)
    oras("maker", "push", "model.bin")
    oras("reader", "pull", "back")
    assert (tmp_path / "back/model.bin").read_bytes() == b"weights"


@pytest.mark.require("crane")
def test_crane(guarded: ShoalServer, tmp_path: Path) -> None:
    env = {"DOCKER_CONFIG": str(tmp_path)}
    name = f"{guarded.host}/team/base:1"
    run(["crane", "--insecure", "digest", name], env=env, fails=True)
    run(["crane", "auth", "login", guarded.host, "-u", "maker", "-p", password_of("maker")], env=env)
    run(["crane", "--insecure", "copy", name, f"{guarded.host}/team/crane:1"], env=env)
    assert run(["crane", "--insecure", "digest", name], env=env).stdout.strip() == small_image(7402).digest


@pytest.mark.require("oras")
def test_oras(guarded: ShoalServer, tmp_path: Path) -> None:
    env = {"DOCKER_CONFIG": str(tmp_path)}
    (tmp_path / "file").write_text("content")
    target = f"{guarded.host}/team/oras-go:1"
    run(["oras", "push", "--plain-http", target, "file"], env=env, cwd=tmp_path, fails=True)
    run(["oras", "login", "--plain-http", guarded.host, "-u", "maker", "-p", password_of("maker")], env=env)
    run(["oras", "push", "--plain-http", target, "file"], env=env, cwd=tmp_path)
    run(["oras", "pull", "--plain-http", target, "-o", "back"], env=env, cwd=tmp_path)


@pytest.mark.require("regctl")
def test_regctl(guarded: ShoalServer, tmp_path: Path) -> None:
    env = {"REGCTL_CONFIG": str(tmp_path / "config.json")}
    run(["regctl", "registry", "set", "--tls", "disabled", guarded.host], env=env)
    name = f"{guarded.host}/team/base:1"
    run(["regctl", "manifest", "head", name], env=env, fails=True)
    run(["regctl", "registry", "login", guarded.host, "-u", "maker", "-p", password_of("maker")], env=env)
    run(["regctl", "image", "copy", name, f"{guarded.host}/team/regctl:1"], env=env)


def test_an_account_that_is_disabled_during_a_pull(guarded: ShoalServer) -> None:
    """The transfer that runs ends whole, as its right was decided when it began; the next is refused."""
    item = image(random_layer(8_000_000, 7405))
    with maker(guarded) as client:
        client.push_image("team/large", item, "1")
    with RegistryClient(guarded.url) as client:
        client.session.auth = ("leaving", password_of("leaving"))
        path = f"/v2/team/large/blobs/{item.layers[0].digest}"
        answer = client.request("GET", path, want=200, stream=True)
        begun = answer.raw.read(100_000)

        Hooks(guarded).accounts("change", "leaving", is_disabled=True)

        assert begun + answer.raw.read() == item.layers[0].content
        client.request("GET", path, want=401)


def test_the_key_that_tests_sign_with_is_none_of_the_log(guarded: ShoalServer) -> None:
    """Neither passwords nor tokens nor keys are in any file that the server writes for people."""
    _, private = signing_key(guarded.data)
    planted = [password_of(name).encode() for name in USERS] + [b"BEGIN PRIVATE KEY", private.private_bytes_raw()]
    for file in [guarded.log, *guarded.data.glob("audit*")]:
        content = b"".join(part.read_bytes() for part in ([file] if file.is_file() else file.rglob("*")))
        for secret in planted:
            assert secret not in content, file
        assert b"eyJ" not in content, f"{file} holds a token"
