"""skopeo, with umoci as the maker of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.content import (
    DOCKER_LIST,
    OCI_INDEX,
    digest_of,
    image,
    index,
    layer,
    random_bytes,
    random_layer,
    small_image,
    write_layout,
)
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.podman import Podman
from tests.harness.process import run
from tests.harness.server import ShoalServer

pytestmark = pytest.mark.require("skopeo")

LAYER = 3_000_000
LITTLE = 200_000
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
TO_PLAIN = "--dest-tls-verify=false"
FROM_PLAIN = "--src-tls-verify=false"


def umoci_layout(folder: Path, files: dict[str, bytes]) -> Path:
    """An OCI layout with one image, tag `1`, of one layer for each file; made by umoci."""
    layout = folder / "layout"
    run(["umoci", "init", "--layout", layout])
    run(["umoci", "new", "--image", f"{layout}:1"])
    for name, content in files.items():
        (folder / name).write_bytes(content)
        run(["umoci", "insert", "--image", f"{layout}:1", folder / name, f"/{name}"])
    return layout


def same_content(first: Path, second: Path) -> None:
    """Both `dir:` folders of skopeo hold the same files with the bytes that their names promise."""
    names = sorted(item.name for item in first.iterdir())
    assert names == sorted(item.name for item in second.iterdir())
    for name in names:
        content = (second / name).read_bytes()
        assert content == (first / name).read_bytes()
        if len(name) == 64:
            assert digest_of(content) == f"sha256:{name}"


@pytest.mark.require("umoci")
def test_copy_there_and_back(containers: Podman, registry: ShoalServer, tmp_path: Path) -> None:
    layout = umoci_layout(tmp_path, {"a": random_bytes(LAYER, 41), "b": b"small"})
    target = f"docker://{registry.host}/skopeo/layout:1"
    containers.skopeo("copy", TO_PLAIN, f"oci:{layout}:1", target)

    containers.skopeo("copy", FROM_PLAIN, target, f"dir:{tmp_path / 'back'}")

    containers.skopeo("copy", f"oci:{layout}:1", f"dir:{tmp_path / 'made'}")
    same_content(tmp_path / "made", tmp_path / "back")


def test_zstd_layers(containers: Podman, shared_shoal: ShoalServer, client: RegistryClient, tmp_path: Path) -> None:
    layout = write_layout(image(random_layer(LAYER, 42)), "1", tmp_path / "layout")
    target = f"docker://{shared_shoal.host}/skopeo/zstd:1"
    compress = ["--dest-compress", "--dest-compress-format", "zstd"]
    containers.skopeo("copy", *compress, f"oci:{layout}:1", f"dir:{tmp_path / 'made'}")
    containers.skopeo("copy", TO_PLAIN, f"dir:{tmp_path / 'made'}", target)

    containers.skopeo("copy", FROM_PLAIN, target, f"dir:{tmp_path / 'back'}")

    described = client.manifest("skopeo/zstd", "1").json()["layers"]
    assert {item["mediaType"] for item in described} == {ZSTD}
    same_content(tmp_path / "made", tmp_path / "back")


@pytest.mark.parametrize("docker", [False, True])
def test_copy_of_a_whole_index_between_registries(
    containers: Podman, registry: ShoalServer, start_shoal: StartShoal, docker: bool
) -> None:
    whole = index(
        *(small_image(seed, docker=docker, architecture=name) for seed, name in enumerate(("amd64", "arm64"))),
        docker=docker,
    )
    repository = "skopeo/index-docker" if docker else "skopeo/index"
    other = start_shoal()
    with RegistryClient(registry.url) as client:
        client.push_index(repository, whole, "1")

    containers.skopeo(
        "copy",
        "--all",
        FROM_PLAIN,
        TO_PLAIN,
        f"docker://{registry.host}/{repository}:1",
        f"docker://{other.host}/copied:1",
    )

    with RegistryClient(other.url) as client:
        copied = client.manifest("copied", "1")
        assert copied == whole.manifest
        assert copied.media_type == (DOCKER_LIST if docker else OCI_INDEX)
        for part in whole.images:
            client.check_image("copied", part)


def test_copy_within_one_registry_mounts(
    containers: Podman, proxy: CuttingProxy, client: RegistryClient, tmp_path: Path
) -> None:
    large = image(random_layer(LAYER, 43))
    client.push_image("skopeo/source", large, "1")
    source = f"docker://{proxy.host}/skopeo/source:1"
    # skopeo mounts only what it has seen in this registry before.
    containers.skopeo("copy", FROM_PLAIN, source, f"dir:{tmp_path / 'seen'}")
    proxy.reset_count()

    containers.skopeo("copy", FROM_PLAIN, TO_PLAIN, source, f"docker://{proxy.host}/skopeo/target:1")

    assert 0 < proxy.count.up < LITTLE
    assert proxy.count.down < LITTLE
    client.check_image("skopeo/target", large, "1")


def test_copying_again_sends_nothing(
    containers: Podman, proxy: CuttingProxy, tmp_path: Path, client: RegistryClient
) -> None:
    large = image(random_layer(LAYER, 44))
    client.push_image("skopeo/again", large, "1")
    target = f"docker://{proxy.host}/skopeo/again:1"
    containers.skopeo("copy", FROM_PLAIN, target, f"dir:{tmp_path / 'image'}")
    proxy.reset_count()

    containers.skopeo("copy", TO_PLAIN, f"dir:{tmp_path / 'image'}", target)

    assert 0 < proxy.count.up < LITTLE


def test_sync_of_a_repository(
    containers: Podman, shared_shoal: ShoalServer, start_shoal: StartShoal, client: RegistryClient
) -> None:
    images = {f"v{number}": small_image(number) for number in range(3)}
    for tag, item in images.items():
        client.push_image("skopeo/sync", item, tag)
    other = start_shoal()
    command = ["sync", FROM_PLAIN, TO_PLAIN, "--src", "docker", "--dest", "docker"]
    command += [f"{shared_shoal.host}/skopeo/sync", f"{other.host}/mirrored"]

    containers.skopeo(*command)
    containers.skopeo(*command)

    with RegistryClient(other.url) as there:
        assert there.tags("mirrored/sync") == sorted(images)
        for tag, item in images.items():
            there.check_image("mirrored/sync", item, tag)


def test_list_tags(containers: Podman, shared_shoal: ShoalServer, client: RegistryClient) -> None:
    tags = ["1.0", "1.1", "A", "_x", "latest"]
    for tag in reversed(tags):
        client.push_image("skopeo/tags", small_image(), tag)

    listed = json.loads(
        containers.skopeo("list-tags", "--tls-verify=false", f"docker://{shared_shoal.host}/skopeo/tags")
    )

    assert listed["Tags"] == tags


def test_inspect(containers: Podman, shared_shoal: ShoalServer, client: RegistryClient) -> None:
    small = image(layer({"file": b"content"}))
    client.push_image("skopeo/inspect", small, "1")
    address = f"docker://{shared_shoal.host}/skopeo/inspect:1"

    described = json.loads(containers.skopeo("inspect", "--tls-verify=false", address))
    raw = containers.skopeo("inspect", "--raw", "--tls-verify=false", address)

    assert described["Digest"] == small.digest
    assert described["Layers"] == [small.layers[0].digest]
    assert described["RepoTags"] == ["1"]
    assert raw.encode() == small.manifest.content


def test_delete_takes_every_tag_of_the_digest(
    containers: Podman, shared_shoal: ShoalServer, client: RegistryClient
) -> None:
    for tag in ("1", "2"):
        client.push_image("skopeo/delete", small_image(1), tag)
    client.push_image("skopeo/delete", small_image(2), "3")

    containers.skopeo("delete", "--tls-verify=false", f"docker://{shared_shoal.host}/skopeo/delete:1")

    assert client.tags("skopeo/delete") == ["3"]
    assert client.resolve("skopeo/delete", small_image(1).digest) is None
    client.check_image("skopeo/delete", small_image(2), "3")
    containers.skopeo("delete", "--tls-verify=false", f"docker://{shared_shoal.host}/skopeo/delete:1", fails=True)
