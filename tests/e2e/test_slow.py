"""The long variants: large layers, many clients at once, cuts at many places, long stalls."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.e2e.conftest import MakeContext
from tests.harness.client import RegistryClient
from tests.harness.containerd import Containerd
from tests.harness.content import image, index, layer, random_bytes, random_layer, write_layout
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.dockerd import Dockerd
from tests.harness.podman import Podman
from tests.harness.server import ShoalServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.require("dockerd", "docker", "podman", "buildah", "skopeo", "containerd", "ctr", "runc", "gcc", "root"),
]

MIB = 1024 * 1024
PLAIN = "--tls-verify=false"


def large_file(target: Path, size: int) -> Path:
    """A file of random bytes that is never whole in memory."""
    with target.open("wb") as output:
        for _ in range(size // MIB):
            output.write(os.urandom(MIB))
    return target


@pytest.mark.parametrize("workers", [1, 2])
def test_a_layer_of_one_gigabyte(
    docker: Dockerd, ctr: Containerd, start_shoal: StartShoal, make_context: MakeContext, workers: int
) -> None:
    server = start_shoal(workers=workers)
    name = f"{server.host}/slow/large:1"
    context = make_context("large")
    large_file(context / "data", 1024 * MIB)
    with (context / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("COPY data /data\n")
    built = docker.build(name, context)
    docker.docker("push", name, timeout=300)
    docker.remove(name)

    docker.docker("pull", name, timeout=300)
    ctr.ctr("images", "pull", "--plain-http", name, timeout=300)

    assert docker.image_id(name) == built
    assert docker.run_image(name) == ctr.run_image(name) == "large"
    docker.remove(name)
    ctr.forget(name)
    assert not server.complaints()


@pytest.mark.parametrize("workers", [1, 2])
def test_many_pushes_and_pulls_at_once(
    containers: Podman, ctr: Containerd, start_shoal: StartShoal, tmp_path: Path, workers: int
) -> None:
    server = start_shoal(workers=workers)
    shared = random_layer(5 * MIB, 201)
    items = {n: image(shared, *(random_layer(MIB, 1000 + 10 * n + k) for k in range(4))) for n in range(24)}

    def there_and_back(number: int) -> None:
        layout = write_layout(items[number], "1", tmp_path / f"layout{number}")
        target = f"docker://{server.host}/slow/many-{number % 6}:{number}"
        containers.skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:1", target, timeout=300)
        ctr.ctr("images", "pull", "--plain-http", target.removeprefix("docker://"), timeout=300)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(there_and_back, items))

    with RegistryClient(server.url) as client:
        for number, item in items.items():
            client.check_image(f"slow/many-{number % 6}", item, str(number))
            assert ctr.digest(f"{server.host}/slow/many-{number % 6}:{number}") == item.digest
    for item in items.values():
        assert all(ctr.content(blob.digest) == blob.content for blob in item.blobs)
    ctr.forget(*(f"{server.host}/slow/many-{number % 6}:{number}" for number in items))
    assert not server.complaints()


def test_uploads_cut_at_many_places(
    containers: Podman, proxy: CuttingProxy, client: RegistryClient, tmp_path: Path
) -> None:
    places = random.Random(202)  # noqa: S311 - no secret
    for number in range(60):
        item = image(random_layer(2 * MIB, 2000 + number))
        layout = write_layout(item, "1", tmp_path / f"layout{number}")
        target = f"docker://{proxy.host}/slow/cut-{number}:1"
        proxy.cut("up", places.randrange(2 * MIB))
        containers.skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:1", target, fails=True)
        assert client.resolve(f"slow/cut-{number}", "1") is None
        containers.skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:1", target)
        client.check_image(f"slow/cut-{number}", item, "1")


def test_pulls_cut_at_many_places(ctr: Containerd, proxy: CuttingProxy, client: RegistryClient) -> None:
    places = random.Random(203)  # noqa: S311 - no secret
    for number in range(40):
        item = image(random_layer(MIB, 2030 + number))
        client.push_image("slow/pulls", item, f"v{number}")
        for _ in range(3):
            proxy.cut("down", places.randrange(4096, MIB))

        ctr.pull(f"{proxy.host}/slow/pulls:v{number}")

        assert ctr.content(item.layers[0].digest) == item.layers[0].content
        ctr.forget(f"{proxy.host}/slow/pulls:v{number}")
        proxy.heal()


def test_a_reader_that_stops_is_let_go_and_goes_on(ctr: Containerd, start_shoal: StartShoal) -> None:
    server = start_shoal(settings={"server": {"body_timeout": "3s"}})
    # More than all the buffers between here and there can hold.
    item = image(random_layer(64 * MIB, 204))
    with RegistryClient(server.url) as client, CuttingProxy(server.port) as proxy:
        client.push_image("slow/stalled", item, "1")
        proxy.stall("down", 20 * MIB)
        pull = ctr.spawn("images", "pull", "--plain-http", f"{proxy.host}/slow/stalled:1")
        path = f"/v2/slow/stalled/blobs/{item.layers[0].digest}"
        server.wait_for_log(lambda entry: entry.get("path") == path and entry.get("method") == "GET")
        proxy.heal()
        printed = pull.communicate(timeout=120)[0]
        assert pull.returncode == 0, printed
        assert ctr.content(item.layers[0].digest) == item.layers[0].content
        ctr.forget(f"{proxy.host}/slow/stalled:1")


def test_a_wide_index(containers: Podman, start_shoal: StartShoal) -> None:
    first, second = start_shoal(), start_shoal(workers=2)
    parts = [image(layer({"part": random_bytes(20_000, 300 + n)}), architecture=f"arch{n}") for n in range(60)]
    whole = index(*parts)
    with RegistryClient(first.url) as client:
        client.push_index("slow/wide", whole, "1")

    source, target = f"docker://{first.host}/slow/wide:1", f"docker://{second.host}/slow/wide:1"
    containers.skopeo("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", source, target, timeout=300)

    with RegistryClient(second.url) as client:
        assert client.manifest("slow/wide", "1") == whole.manifest
        for part in parts:
            client.check_image("slow/wide", part)


def test_ten_layers_pushed_by_all_at_once_to_one_repository(
    docker: Dockerd, containers: Podman, ctr: Containerd, two_workers: ShoalServer, make_context: MakeContext
) -> None:
    files = {f"data{number}": random_bytes(5 * MIB, 400 + number) for number in range(10)}
    name = f"{two_workers.host}/slow/ten"
    context = make_context("ten", files)
    docker.build(f"{name}:docker", context)
    containers.buildah("build", "--tag", f"{name}:podman", context)

    with ThreadPoolExecutor(2) as pool:
        pushes = [
            pool.submit(docker.docker, "push", f"{name}:docker", timeout=300),
            pool.submit(containers.podman, "push", PLAIN, f"{name}:podman", timeout=300),
        ]
        for push in pushes:
            push.result()

    for tag in ("docker", "podman"):
        ctr.pull(f"{name}:{tag}")
        assert ctr.run_image(f"{name}:{tag}") == "ten"
        ctr.forget(f"{name}:{tag}")
