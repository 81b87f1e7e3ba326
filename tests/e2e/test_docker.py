"""dockerd and the docker command."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeContext
from tests.harness.client import RegistryClient
from tests.harness.content import DOCKER_LIST, random_bytes
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.dockerd import Dockerd
from tests.harness.server import ShoalServer

pytestmark = pytest.mark.require("dockerd", "docker", "gcc", "root")

LAYER = 3_000_000
LITTLE = 200_000


def test_push_pull_and_run(docker: Dockerd, registry: ShoalServer, make_context: MakeContext) -> None:
    name = f"{registry.host}/docker/hello:1"
    built = docker.build(name, make_context("hello from docker", {"data": random_bytes(LAYER, 1)}))
    docker.docker("push", name)
    docker.remove(name)

    docker.docker("pull", name)

    assert docker.image_id(name) == built
    assert docker.run_image(name) == "hello from docker"


def test_the_registry_holds_what_docker_pushed(
    docker: Dockerd, shared_shoal: ShoalServer, client: RegistryClient, make_context: MakeContext
) -> None:
    name = f"{shared_shoal.host}/docker/held:1"
    built = docker.build(name, make_context("held"))
    docker.docker("push", name)

    manifest = client.manifest("docker/held", "1")

    assert manifest.digest == docker.repository_digest(name) == client.resolve("docker/held", "1")
    described = manifest.json()
    assert described["config"]["digest"] == built
    for descriptor in [described["config"], *described["layers"]]:
        content = client.blob("docker/held", descriptor["digest"])
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor["digest"]


def test_pushing_again_sends_no_layer(docker: Dockerd, proxy: CuttingProxy, make_context: MakeContext) -> None:
    name = f"{proxy.host}/docker/again:1"
    docker.build(name, make_context("again", {"data": random_bytes(LAYER, 2)}))
    docker.docker("push", name)
    assert proxy.count.up > LAYER
    proxy.reset_count()

    docker.docker("push", name)

    assert 0 < proxy.count.up < LITTLE


def test_pushing_under_another_name_mounts_the_layers(
    docker: Dockerd, proxy: CuttingProxy, client: RegistryClient, make_context: MakeContext
) -> None:
    first, second = f"{proxy.host}/docker/mount-a:1", f"{proxy.host}/docker/mount-b:1"
    built = docker.build(first, make_context("mounted", {"data": random_bytes(LAYER, 3)}))
    docker.docker("push", first)
    docker.docker("tag", first, second)
    proxy.reset_count()

    printed = docker.docker("push", second)

    assert "Mounted from docker/mount-a" in printed
    assert proxy.count.up < LITTLE
    docker.remove(first, second)
    docker.docker("pull", second)
    assert docker.image_id(second) == built


def test_pull_by_digest(docker: Dockerd, shared_shoal: ShoalServer, make_context: MakeContext) -> None:
    name = f"{shared_shoal.host}/docker/digest:1"
    built = docker.build(name, make_context("by digest"))
    docker.docker("push", name)
    pinned = f"{shared_shoal.host}/docker/digest@{docker.repository_digest(name)}"
    docker.remove(name)

    docker.docker("pull", pinned)

    assert docker.image_id(pinned) == built


def test_pull_of_all_tags(docker: Dockerd, shared_shoal: ShoalServer, make_context: MakeContext) -> None:
    repository = f"{shared_shoal.host}/docker/all"
    built = {f"{repository}:{tag}": docker.build(f"{repository}:{tag}", make_context(tag)) for tag in ("a", "b", "c")}
    docker.docker("push", "--all-tags", repository)
    docker.remove(*built)

    docker.docker("pull", "--all-tags", repository)

    assert {name: docker.image_id(name) for name in built} == built


def test_a_moved_tag_is_pulled_anew(docker: Dockerd, shared_shoal: ShoalServer, make_context: MakeContext) -> None:
    name = f"{shared_shoal.host}/docker/moving:latest"
    old = docker.build(name, make_context("old"))
    docker.docker("push", name)
    new = docker.build(name, make_context("new"))
    docker.docker("push", name)
    docker.remove(name, old)

    docker.docker("pull", name)

    assert docker.image_id(name) == new != old


def test_a_manifest_list_made_by_docker(
    docker: Dockerd, shared_shoal: ShoalServer, client: RegistryClient, make_context: MakeContext
) -> None:
    host = shared_shoal.host
    built = {arch: docker.build(f"{host}/docker/part:{arch}", make_context(arch)) for arch in ("amd64", "arm64")}
    for architecture in built:
        docker.docker("push", f"{host}/docker/part:{architecture}")
    listing = f"{host}/docker/list:1"
    parts = [f"{host}/docker/part:{architecture}" for architecture in built]
    docker.docker("manifest", "create", "--insecure", listing, *parts)
    docker.docker("manifest", "annotate", "--arch", "arm64", listing, parts[1])

    docker.docker("manifest", "push", "--insecure", listing)

    manifest = client.manifest("docker/list", "1")
    assert manifest.media_type == DOCKER_LIST
    architectures = [item["platform"]["architecture"] for item in manifest.json()["manifests"]]
    assert architectures == ["amd64", "arm64"]
    docker.remove(*parts)
    docker.docker("pull", listing)
    assert docker.image_id(listing) == built["amd64"]
    assert docker.run_image(listing) == "amd64"


def test_pushes_in_parallel_that_share_layers(
    docker: Dockerd, registry: ShoalServer, make_context: MakeContext
) -> None:
    shared = random_bytes(LAYER, 4)
    names = [f"{registry.host}/docker/parallel-{number}:1" for number in range(6)]
    built = {
        name: docker.build(name, make_context("parallel", {"shared": shared, "own": random_bytes(50_000, number)}))
        for number, name in enumerate(names, 10)
    }

    pushes = [docker.spawn("push", name) for name in names]
    printed = [push.communicate(timeout=100)[0] for push in pushes]

    assert [push.returncode for push in pushes] == [0] * len(names), printed
    docker.remove(*names)
    for name in names:
        docker.docker("pull", name)
    assert {name: docker.image_id(name) for name in names} == built


def test_file_content_survives(docker: Dockerd, proxy: CuttingProxy, make_context: MakeContext, tmp_path: Path) -> None:
    name = f"{proxy.host}/docker/bytes:1"
    content = random_bytes(LAYER, 5)
    docker.build(name, make_context("bytes", {"data": content}))
    docker.docker("push", name)
    docker.remove(name)
    docker.docker("pull", name)
    assert proxy.count.down > LAYER, "docker still had the layer"

    container = docker.docker("create", "--network", "none", name).strip()
    docker.docker("cp", f"{container}:/data", tmp_path / "data")
    docker.docker("rm", container)

    assert (tmp_path / "data").read_bytes() == content


def test_what_is_not_there_is_told(docker: Dockerd, shared_shoal: ShoalServer) -> None:
    printed = docker.docker("pull", f"{shared_shoal.host}/docker/nothing:1", fails=True)

    assert "manifest unknown" in printed or "not found" in printed
