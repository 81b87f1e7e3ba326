"""What one client pushed the others pull; and what was acknowledged survives the death of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.containerd import Containerd
from tests.harness.content import DOCKER_LAYER, Image, digest_of, image, layer, oci_layout, random_bytes, tar_of
from tests.harness.dockerd import Dockerd
from tests.harness.podman import Podman
from tests.harness.server import ShoalServer

pytestmark = pytest.mark.require(
    "dockerd", "docker", "podman", "buildah", "skopeo", "containerd", "ctr", "runc", "gcc", "root"
)

LAYER = 2_000_000
PLAIN = "--tls-verify=false"


class Clients:
    """The four families of clients, each with a push of one image and a pull that checks it."""

    def __init__(self, docker: Dockerd, containers: Podman, ctr: Containerd, folder: Path, item: Image) -> None:
        self.docker = docker
        self.containers = containers
        self.ctr = ctr
        self.item = item
        self._folder = folder
        self.pushes: dict[str, Callable[[str], None]] = {
            "docker": self._docker_push,
            "podman": self._podman_push,
            "skopeo": self._skopeo_push,
            "ctr": self._ctr_push,
        }
        self.pulls: dict[str, Callable[[str], None]] = {
            "docker": self._docker_pull,
            "podman": self._podman_pull,
            "skopeo": self._skopeo_pull,
            "ctr": self._ctr_pull,
        }

    def _archive(self, name: str) -> Path:
        archive = self._folder / "layout.tar"
        archive.write_bytes(tar_of(oci_layout(self.item, name)))
        return archive

    def _docker_push(self, name: str) -> None:
        # dockerd loads docker's own format alone, which skopeo makes.
        source = f"oci-archive:{self._archive(name)}:{name}"
        target = self._folder / "docker.tar"
        target.unlink(missing_ok=True)
        self.containers.skopeo("copy", source, f"docker-archive:{target}:{name}")
        self.docker.docker("load", "--input", target)
        self.docker.docker("push", name)
        self.docker.remove(name)

    def _podman_push(self, name: str) -> None:
        self.containers.podman("load", "--input", self._archive(name))
        self.containers.podman("push", PLAIN, name)
        self.containers.podman("rmi", "--force", name)

    def _skopeo_push(self, name: str) -> None:
        source = f"oci-archive:{self._archive(name)}:{name}"
        self.containers.skopeo("copy", "--dest-tls-verify=false", source, f"docker://{name}")

    def _ctr_push(self, name: str) -> None:
        self.ctr.ctr("images", "import", "--all-platforms", "--no-unpack", self._archive(name))
        self.ctr.push(name)
        self.ctr.forget(name)

    def _docker_pull(self, name: str) -> None:
        self.docker.docker("pull", name)
        assert self.docker.run_image(name) == "across"
        self.docker.remove(name)

    def _podman_pull(self, name: str) -> None:
        self.containers.podman("pull", PLAIN, name)
        assert self.containers.run_image(name) == "across"
        self.containers.podman("rmi", "--force", name)

    def _skopeo_pull(self, name: str) -> None:
        target = self._folder / f"skopeo-{name.replace('/', '-')}"
        self.containers.skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{target}")
        blobs = [item for item in target.iterdir() if len(item.name) == 64]
        assert len(blobs) == 1 + len(self.item.layers)
        assert all(digest_of(blob.read_bytes()) == f"sha256:{blob.name}" for blob in blobs)

    def _ctr_pull(self, name: str) -> None:
        self.ctr.pull(name)
        assert self.ctr.run_image(name) == "across"
        self.ctr.forget(name)


@pytest.fixture
def clients(docker: Dockerd, containers: Podman, ctr: Containerd, greeter: Path, tmp_path: Path) -> Clients:
    files = [{"greeter": greeter.read_bytes()}, {"message": b"across"}, {"data": random_bytes(LAYER, 141)}]
    item = image(*(layer(file) for file in files), command=["/greeter"])
    return Clients(docker, containers, ctr, tmp_path, item)


@pytest.mark.parametrize("pusher", ["docker", "podman", "skopeo", "ctr"])
def test_what_one_pushed_all_pull(clients: Clients, registry: ShoalServer, pusher: str) -> None:
    name = f"{registry.host}/across/{pusher}:1"
    clients.pushes[pusher](name)

    for pull in clients.pulls.values():
        pull(name)


@pytest.mark.parametrize("workers", [1, 2])
def test_acknowledged_pushes_survive_a_kill(clients: Clients, start_shoal: StartShoal, workers: int) -> None:
    server = start_shoal(workers=workers)
    names = {f"{server.host}/killed/{pusher}:1": push for pusher, push in clients.pushes.items()}

    for name, push in names.items():
        push(name)
        server.kill()
        server.start()

    with RegistryClient(server.url) as client:
        assert client.catalog() == sorted(f"killed/{pusher}" for pusher in clients.pushes)
    for name in names:
        clients.pulls["skopeo"](name)
        clients.pulls["ctr"](name)


def test_one_layer_is_kept_once(clients: Clients, start_shoal: StartShoal) -> None:
    server = start_shoal()
    large = image(layer({"data": random_bytes(LAYER, 142)}, media_type=DOCKER_LAYER), docker=True)
    with RegistryClient(server.url) as client:
        for number in range(5):
            client.push_image(f"once/{number}", large, "1")

    used = sum(file.stat().st_blocks * 512 for file in server.data.rglob("*") if file.is_file())

    assert LAYER < used < 2 * LAYER
