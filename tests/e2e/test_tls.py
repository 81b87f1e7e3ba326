"""Every client by TLS, each told of the authority in its own way; the authority is the one of `shoal tls init`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeContext
from tests.harness import dockerd
from tests.harness.client import RegistryClient
from tests.harness.connect_proxy import ConnectProxy
from tests.harness.containerd import Containerd
from tests.harness.content import small_image, write_layout
from tests.harness.podman import Podman
from tests.harness.process import run
from tests.harness.server import ROOT, ShoalServer

NAME = "registry.shoal.test"  # no machine has this name (RFC 6761, section 6.2)


class Served:
    """A server with two workers that takes clients with and without certificates, and the files of `shoal tls`."""

    def __init__(self, server: ShoalServer, files: Path) -> None:
        self.server = server
        self.host = server.host
        self.files = files
        self.ca = files / "ca.crt"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "files"
    shoal = [sys.executable, "-m", "registry", "tls"]
    hosts = ["--host", NAME, "--host", "127.0.0.1", "--host", "localhost"]
    run([*shoal, "init", "--dir", files, *hosts], cwd=ROOT)
    run([*shoal, "client", "alice", "--dir", files], cwd=ROOT)
    tls = {"cert": str(files / "server.crt"), "key": str(files / "server.key"), "client_ca": str(files / "ca.crt")}
    with ShoalServer(folder / "data", workers=2, tls=tls, settings={"log": {"format": "json"}}) as server:
        yield Served(server, files)
    assert not server.complaints()


def certs_directory(served: Served, folder: Path) -> Path:
    """What docker, podman and skopeo look for, with a client's certificate."""
    folder.mkdir(parents=True)
    for name, file in (("ca.crt", "ca.crt"), ("client.cert", "alice.crt"), ("client.key", "alice.key")):
        (folder / name).write_bytes((served.files / file).read_bytes())
    return folder


@pytest.mark.require("podman", "skopeo", "runc", "gcc", "root")
def test_podman_and_skopeo(served: Served, containers: Podman, make_context: MakeContext, tmp_path: Path) -> None:
    certificates = certs_directory(served, tmp_path / "certs")
    name = f"{served.host}/podman/tls:1"
    containers.buildah("bud", "--tag", name, make_context("hello by TLS"))
    image_id = containers.image_id(name)
    assert "certificate" in containers_error(containers, "podman", "push", name)
    containers.podman("push", "--cert-dir", certificates, name)
    containers.podman("rmi", name)
    containers.podman("pull", "--cert-dir", certificates, name)
    assert containers.image_id(name) == image_id
    assert containers.run_image(name) == "hello by TLS"
    containers.podman("rmi", name)

    layout = write_layout(small_image(3), "1", tmp_path / "layout")
    target = f"docker://{served.host}/skopeo/tls:1"
    containers.skopeo("--insecure-policy", "copy", f"oci:{layout}:1", target, "--dest-cert-dir", certificates)
    found = containers.skopeo("inspect", "--raw", "--cert-dir", certificates, target)
    assert found.encode() == small_image(3).manifest.content


def containers_error(containers: Podman, *words: str) -> str:
    with pytest.raises(AssertionError) as caught:
        getattr(containers, words[0])(*words[1:])
    return str(caught.value)


@pytest.mark.require("containerd", "ctr", "root")
def test_containerd_with_hosts_toml(served: Served, ctr: Containerd, tmp_path: Path) -> None:
    item = small_image(4)
    with RegistryClient(served.server.url, served.ca) as client:
        client.push_image("ctr/tls", item, "1")
    name = f"{served.host}/ctr/tls:1"
    assert "400 Bad Request" in ctr.ctr("images", "pull", name, fails=True), "to 127.0.0.1 it speaks plain HTTP"
    hosts = tmp_path / "certs.d"
    (hosts / served.host).mkdir(parents=True)
    address = json.dumps(f"https://{served.host}")
    told = f"server = {address}\n[host.{address}]\n"
    (hosts / served.host / "hosts.toml").write_text(told)
    assert "certificate" in ctr.ctr("images", "pull", "--hosts-dir", hosts, name, fails=True)
    pair = [str(served.files / "alice.crt"), str(served.files / "alice.key")]
    told += f"ca = {json.dumps(str(served.ca))}\nclient = [{json.dumps(pair)}]\n"
    (hosts / served.host / "hosts.toml").write_text(told)
    ctr.ctr("images", "pull", "--hosts-dir", hosts, name)
    assert ctr.digest(name) == item.digest
    pushed = f"{served.host}/ctr/again:1"
    ctr.ctr("images", "tag", name, pushed)
    ctr.ctr("images", "push", "--hosts-dir", hosts, pushed)
    with RegistryClient(served.server.url, served.ca) as client:
        client.check_image("ctr/again", item, "1")
    ctr.forget(name, pushed)


@pytest.mark.require("docker", "dockerd", "gcc", "root")
def test_docker_with_certs_d(served: Served, make_context: MakeContext) -> None:
    """Under a name, which a proxy leads to the server: of addresses in 127.0.0.0/8 docker verifies nothing."""
    host = f"{NAME}:{served.server.port}"
    place = Path("/etc/docker/certs.d") / host
    name = f"{host}/docker/tls:1"
    with ConnectProxy(served.server.port) as proxy, dockerd.start({"HTTPS_PROXY": proxy.url}) as docker:
        docker.build(name, make_context("hello from docker"))
        assert "certificate" in docker.docker("push", name, fails=True)
        try:
            certs_directory(served, place)
            docker.docker("push", name)
            digest = docker.repository_digest(name)
            docker.remove(name)
            docker.docker("pull", name)
        finally:
            for file in place.glob("*"):
                file.unlink()
            place.rmdir()
            with suppress(OSError):  # others may have files there
                place.parent.rmdir()
        assert docker.repository_digest(name) == digest
        assert docker.run_image(name) == "hello from docker"
    assert proxy.asked == {host}


@pytest.mark.require("docker", "dockerd", "gcc", "root")
def test_docker_on_loopback(served: Served, make_context: MakeContext) -> None:
    """docker tries HTTPS there first, and takes what it is shown."""
    name = f"{served.host}/docker/loopback:1"
    with dockerd.start() as docker:
        docker.build(name, make_context("hello from docker"))
        docker.docker("push", name)
        docker.remove(name)
        docker.docker("pull", name)
        assert docker.run_image(name) == "hello from docker"


@pytest.mark.require("curl")
def test_curl_shows_a_certificate(served: Served) -> None:
    curl: list[str | Path] = ["curl", "--silent", "--show-error", "--cacert", served.ca]
    shown: list[str | Path] = ["--cert", served.files / "alice.crt", "--key", served.files / "alice.key"]
    ways: list[list[str | Path]] = [[], shown, ["--tlsv1.3"], ["--tls-max", "1.2"]]
    for words in ways:
        assert run([*curl, *words, f"{served.server.url}/healthz"]).stdout == "ok\n"
    refused = run(["curl", "--silent", "--show-error", f"{served.server.url}/healthz"], fails=True)
    assert "certificate" in refused.stderr
