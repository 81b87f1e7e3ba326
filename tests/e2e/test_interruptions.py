"""Transfers that break in the middle: each client goes on, or fails and then succeeds, and the bytes are right.

What a client does by itself is known and differs: dockerd and ctr ask for the rest of a blob by
Range, podman and skopeo give up; of a push nobody resumes, dockerd and podman begin it again.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.e2e.conftest import MakeContext
from tests.harness.client import RegistryClient
from tests.harness.containerd import Containerd
from tests.harness.content import Image, digest_of, image, oci_layout, random_bytes, random_layer, tar_of, write_layout
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.dockerd import Dockerd
from tests.harness.podman import Podman
from tests.harness.process import CommandError, wait_until

LAYER = 8_000_000
HALF = LAYER // 2
PLAIN = "--tls-verify=false"

with_docker = pytest.mark.require("dockerd", "docker", "gcc", "root")
with_podman = pytest.mark.require("podman", "root")
with_ctr = pytest.mark.require("containerd", "ctr", "root")
with_skopeo = pytest.mark.require("skopeo")


@with_docker
def test_docker_resumes_a_pull(docker: Dockerd, proxy: CuttingProxy, make_context: MakeContext) -> None:
    name = f"{proxy.host}/cut/docker-pull:1"
    built = docker.build(name, make_context("resumed", {"data": random_bytes(LAYER, 101)}))
    docker.docker("push", name)
    docker.remove(name)
    proxy.reset_count()
    proxy.cut("down", HALF)

    docker.docker("pull", name)

    assert proxy.count.struck == 1
    assert proxy.count.down < LAYER + HALF // 2, "the first half was sent twice"
    assert docker.image_id(name) == built
    assert docker.run_image(name) == "resumed"


@with_docker
def test_docker_pushes_again_after_a_cut(
    docker: Dockerd, proxy: CuttingProxy, client: RegistryClient, make_context: MakeContext
) -> None:
    name = f"{proxy.host}/cut/docker-push:1"
    content = random_bytes(LAYER, 102)
    built = docker.build(name, make_context("pushed again", {"data": content}))
    proxy.cut("up", HALF)

    docker.docker("push", name)

    assert proxy.count.struck == 1
    docker.remove(name)
    docker.docker("pull", name)
    assert docker.image_id(name) == built
    for descriptor in client.manifest("cut/docker-push", "1").json()["layers"]:
        assert digest_of(client.blob("cut/docker-push", descriptor["digest"])) == descriptor["digest"]


@with_docker
def test_docker_push_survives_a_killed_server(
    docker: Dockerd, start_shoal: StartShoal, make_context: MakeContext
) -> None:
    server = start_shoal()
    with CuttingProxy(server.port) as proxy:
        name = f"{proxy.host}/cut/killed:1"
        built = docker.build(name, make_context("killed", {"data": random_bytes(LAYER, 103)}))
        proxy.stall("up", HALF)
        push = docker.spawn("push", name)
        wait_until(lambda: proxy.count.struck == 1, "the push is half done")
        server.kill()
        server.start()
        proxy.heal()

        printed = push.communicate(timeout=90)[0]

        assert push.returncode == 0, printed
        docker.remove(name)
        docker.docker("pull", name)
        assert docker.image_id(name) == built


@with_docker
def test_a_push_that_was_given_up_leaves_nothing_visible(
    docker: Dockerd, proxy: CuttingProxy, client: RegistryClient, make_context: MakeContext
) -> None:
    name = f"{proxy.host}/cut/given-up:1"
    built = docker.build(name, make_context("given up", {"data": random_bytes(LAYER, 104)}))
    proxy.stall("up", HALF)
    push = docker.spawn("push", name)
    wait_until(lambda: proxy.count.struck == 1, "the push is half done")

    push.terminate()
    push.communicate(timeout=30)

    assert client.resolve("cut/given-up", "1") is None
    proxy.heal()
    docker.docker("push", name)
    docker.remove(name)
    docker.docker("pull", name)
    assert docker.image_id(name) == built


@with_podman
def test_podman_goes_on_or_fails_cleanly_after_a_cut(
    containers: Podman, proxy: CuttingProxy, client: RegistryClient, tmp_path: Path
) -> None:
    name = f"{proxy.host}/cut/podman-push:1"
    item = image(random_layer(LAYER, 105))
    containers.podman("load", "--input", archive_of(item, name, tmp_path))
    proxy.cut("up", HALF)

    # podman begins again after a reset, and gives up when its own side closed first: a race of its own.
    try:
        containers.podman("push", PLAIN, name)
    except CommandError:
        assert client.resolve("cut/podman-push", "1") is None
        containers.podman("push", PLAIN, name)

    assert proxy.count.struck == 1
    described = client.manifest("cut/podman-push", "1").json()["layers"][0]
    assert digest_of(client.blob("cut/podman-push", described["digest"])) == described["digest"]


@with_podman
def test_podman_fails_a_cut_pull_and_then_pulls(
    containers: Podman, proxy: CuttingProxy, client: RegistryClient
) -> None:
    item = image(random_layer(LAYER, 106))
    client.push_image("cut/podman-pull", item, "1")
    name = f"{proxy.host}/cut/podman-pull:1"
    proxy.cut("down", HALF)

    containers.podman("pull", PLAIN, name, fails=True)

    assert proxy.count.struck == 1
    containers.podman("pull", PLAIN, name)
    assert containers.image_id(name) == item.config.digest


@with_skopeo
def test_skopeo_fails_cleanly_both_ways(
    containers: Podman, proxy: CuttingProxy, client: RegistryClient, tmp_path: Path
) -> None:
    item = image(random_layer(LAYER, 107))
    layout = write_layout(item, "1", tmp_path / "layout")
    target = f"docker://{proxy.host}/cut/skopeo:1"
    proxy.cut("up", HALF)
    containers.skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:1", target, fails=True)
    assert client.resolve("cut/skopeo", "1") is None
    assert not client.has_blob("cut/skopeo", item.layers[0].digest)

    containers.skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:1", target)

    client.check_image("cut/skopeo", item, "1")
    proxy.cut("down", HALF)
    containers.skopeo("copy", "--src-tls-verify=false", target, f"dir:{tmp_path / 'cut'}", fails=True)
    containers.skopeo("copy", "--src-tls-verify=false", target, f"dir:{tmp_path / 'whole'}")
    found = (tmp_path / "whole" / item.layers[0].digest.removeprefix("sha256:")).read_bytes()
    assert found == item.layers[0].content


@with_ctr
def test_ctr_resumes_a_pull_however_often_it_is_cut(
    ctr: Containerd, proxy: CuttingProxy, client: RegistryClient
) -> None:
    item = image(random_layer(LAYER, 108))
    client.push_image("cut/ctr-pull", item, "1")
    name = f"{proxy.host}/cut/ctr-pull:1"
    proxy.cut("down", LAYER // 8, times=5)

    ctr.pull(name)

    assert proxy.count.struck == 5
    assert proxy.count.down < LAYER + LAYER // 4, "parts were sent twice"
    assert ctr.content(item.layers[0].digest) == item.layers[0].content
    ctr.forget(name)


@with_ctr
def test_ctr_fails_a_cut_push_and_then_pushes(
    ctr: Containerd, proxy: CuttingProxy, client: RegistryClient, tmp_path: Path
) -> None:
    item = image(random_layer(LAYER, 109))
    name = f"{proxy.host}/cut/ctr-push:1"
    ctr.ctr("images", "import", "--all-platforms", "--no-unpack", archive_of(item, name, tmp_path))
    proxy.cut("up", HALF)
    ctr.ctr("images", "push", "--plain-http", name, fails=True)
    assert client.resolve("cut/ctr-push", "1") is None

    ctr.push(name)

    client.check_image("cut/ctr-push", item, "1")
    ctr.forget(name)


@with_ctr
def test_a_stalled_pull_goes_on(ctr: Containerd, proxy: CuttingProxy, client: RegistryClient) -> None:
    item = image(random_layer(LAYER, 110))
    client.push_image("cut/stalled", item, "1")
    proxy.stall("down", HALF)
    threading.Timer(4, proxy.heal).start()
    began = time.monotonic()

    ctr.pull(f"{proxy.host}/cut/stalled:1")

    assert time.monotonic() - began > 3.5
    assert proxy.count.struck == 1
    assert ctr.content(item.layers[0].digest) == item.layers[0].content
    ctr.forget(f"{proxy.host}/cut/stalled:1")


@with_docker
def test_a_pull_over_a_server_that_restarts(
    docker: Dockerd, start_shoal: StartShoal, make_context: MakeContext
) -> None:
    server = start_shoal()
    with CuttingProxy(server.port) as proxy:
        name = f"{proxy.host}/cut/restart:1"
        built = docker.build(name, make_context("restarted", {"data": random_bytes(LAYER, 111)}))
        docker.docker("push", name)
        docker.remove(name)
        proxy.stall("down", HALF)
        pull = docker.spawn("pull", name)
        wait_until(lambda: proxy.count.struck == 1, "the pull is half done")
        server.kill()
        server.start()
        proxy.heal()

        printed = pull.communicate(timeout=90)[0]

        assert pull.returncode == 0, printed
        assert docker.image_id(name) == built


def archive_of(item: Image, name: str, folder: Path) -> Path:
    """An OCI layout in one tar file."""
    archive = folder / "layout.tar"
    archive.write_bytes(tar_of(oci_layout(item, name)))
    return archive
