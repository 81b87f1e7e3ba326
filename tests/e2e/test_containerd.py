"""containerd and ctr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.client import RegistryClient
from tests.harness.containerd import Containerd
from tests.harness.content import (
    Image,
    Index,
    image,
    index,
    layer,
    oci_layout,
    random_layer,
    small_image,
    tar_of,
    write_layout,
)
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.podman import Podman
from tests.harness.server import ShoalServer

pytestmark = pytest.mark.require("containerd", "ctr", "runc", "gcc", "root")

LAYER = 3_000_000
LITTLE = 200_000


@pytest.fixture
def runnable(greeter: Path) -> Image:
    """An image that prints its message when it runs."""
    program = layer({"greeter": greeter.read_bytes()})
    message = layer({"message": b"hello from containerd"})
    return image(program, message, command=["/greeter"])


def seed(registry: ShoalServer, repository: str, item: Image) -> str:
    """Pushes an image by plain HTTP as tag 1; returns its full name."""
    with RegistryClient(registry.url) as client:
        client.push_image(repository, item, "1")
    return f"{registry.host}/{repository}:1"


def holds(ctr: Containerd, item: Image) -> None:
    """Every byte of the image is in containerd's own store."""
    for blob in (item.manifest, *item.blobs):
        assert ctr.content(blob.digest) == blob.content


def test_pull_and_run(ctr: Containerd, registry: ShoalServer, runnable: Image) -> None:
    name = seed(registry, "ctr/run", runnable)

    ctr.pull(name)

    assert ctr.digest(name) == runnable.digest
    holds(ctr, runnable)
    assert ctr.run_image(name) == "hello from containerd"
    ctr.forget(name)


def load(ctr: Containerd, item: Image | Index, name: str, folder: Path) -> None:
    """Brings an image into containerd without a registry."""
    archive = folder / "layout.tar"
    archive.write_bytes(tar_of(oci_layout(item, name)))
    ctr.ctr("images", "import", "--all-platforms", "--no-unpack", archive)


def test_push_what_was_imported(ctr: Containerd, registry: ShoalServer, tmp_path: Path) -> None:
    name = f"{registry.host}/ctr/imported:1"
    item = image(random_layer(LAYER, 61), layer({"b": b"b"}))
    load(ctr, item, name, tmp_path)

    ctr.push(name)

    ctr.forget(name)
    with RegistryClient(registry.url) as client:
        client.check_image("ctr/imported", item, "1")
    ctr.pull(name)
    holds(ctr, item)
    ctr.forget(name)


def test_pushing_again_sends_nothing(ctr: Containerd, proxy: CuttingProxy, tmp_path: Path) -> None:
    name = f"{proxy.host}/ctr/again:1"
    load(ctr, image(random_layer(LAYER, 62)), name, tmp_path)
    ctr.push(name)
    assert proxy.count.up > LAYER
    proxy.reset_count()

    ctr.push(name)

    assert 0 < proxy.count.up < LITTLE
    ctr.forget(name)


def test_pushing_under_another_name_mounts(
    ctr: Containerd, shared_shoal: ShoalServer, proxy: CuttingProxy, client: RegistryClient
) -> None:
    item = image(random_layer(LAYER, 63))
    first, second = seed(shared_shoal, "ctr/mount-a", item), f"{proxy.host}/ctr/mount-b:1"
    # ctr mounts from a repository that it pulled from.
    ctr.pull(first)
    ctr.ctr("images", "tag", first, second)

    ctr.push(second)

    assert 0 < proxy.count.up < LITTLE
    client.check_image("ctr/mount-b", item, "1")
    ctr.forget(first, second)


def test_pull_by_digest(ctr: Containerd, shared_shoal: ShoalServer) -> None:
    item = image(random_layer(LAYER, 64))
    name = seed(shared_shoal, "ctr/digest", item)
    pinned = f"{name.rpartition(':')[0]}@{item.digest}"

    ctr.pull(pinned)

    assert ctr.digest(pinned) == item.digest
    holds(ctr, item)
    ctr.forget(pinned)


def test_an_index_there_and_back(ctr: Containerd, registry: ShoalServer, tmp_path: Path) -> None:
    name = f"{registry.host}/ctr/index:1"
    parts = [
        image(random_layer(100_000, 65), architecture="amd64"),
        image(random_layer(100_000, 66), architecture="arm64"),
    ]
    whole = index(*parts)
    load(ctr, whole, name, tmp_path)

    ctr.push(name)

    ctr.forget(name)
    with RegistryClient(registry.url) as client:
        assert client.manifest("ctr/index", "1") == whole.manifest
        for part in parts:
            client.check_image("ctr/index", part)
    ctr.ctr("images", "pull", "--plain-http", "--all-platforms", name)
    assert ctr.digest(name) == whole.digest
    for part in parts:
        holds(ctr, part)
    ctr.forget(name)


@pytest.mark.require("skopeo")
def test_zstd_layers(
    ctr: Containerd, containers: Podman, shared_shoal: ShoalServer, runnable: Image, tmp_path: Path
) -> None:
    layout = write_layout(runnable, "1", tmp_path / "layout")
    name = f"{shared_shoal.host}/ctr/zstd:1"
    compress = ["--dest-compress", "--dest-compress-format", "zstd"]
    containers.skopeo("copy", *compress, f"oci:{layout}:1", f"dir:{tmp_path / 'zstd'}")
    containers.skopeo("copy", "--dest-tls-verify=false", f"dir:{tmp_path / 'zstd'}", f"docker://{name}")

    ctr.pull(name)

    manifest = json.loads(ctr.content(ctr.digest(name)))
    assert {item["mediaType"] for item in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert ctr.run_image(name) == "hello from containerd"
    ctr.forget(name)


def test_docker_schema_2(ctr: Containerd, shared_shoal: ShoalServer) -> None:
    item = small_image(67, docker=True)
    name = seed(shared_shoal, "ctr/docker", item)

    ctr.pull(name)

    holds(ctr, item)
    ctr.forget(name)


def test_a_tag_that_moved_is_pushed_and_pulled(
    ctr: Containerd, shared_shoal: ShoalServer, client: RegistryClient
) -> None:
    name = seed(shared_shoal, "ctr/moving", small_image(68))
    ctr.pull(name)
    seed(shared_shoal, "ctr/moving", small_image(69))

    ctr.pull(name)

    assert ctr.digest(name) == small_image(69).digest
    client.delete_manifest("ctr/moving", small_image(69).digest)
    ctr.push(name)
    client.check_image("ctr/moving", small_image(69), "1")
    ctr.forget(name)


def test_a_missing_image_is_told(ctr: Containerd, shared_shoal: ShoalServer) -> None:
    assert "not found" in ctr.ctr("images", "pull", "--plain-http", f"{shared_shoal.host}/ctr/nothing:1", fails=True)
