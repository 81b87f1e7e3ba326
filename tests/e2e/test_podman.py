"""podman and buildah."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeContext
from tests.harness.client import RegistryClient
from tests.harness.content import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, random_bytes
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.podman import Podman
from tests.harness.server import ShoalServer

pytestmark = pytest.mark.require("podman", "buildah", "runc", "gcc", "root")

LAYER = 3_000_000
LITTLE = 200_000
PLAIN = "--tls-verify=false"


def build(containers: Podman, name: str, folder: Path, *options: str) -> str:
    """Builds the Dockerfile in a folder; returns the image id."""
    containers.buildah("build", "--layers", *options, "--tag", name, folder)
    return containers.image_id(name)


def file_in_image(containers: Podman, name: str, path: str) -> bytes:
    folder = containers.podman("image", "mount", name).strip()
    try:
        return Path(folder, path).read_bytes()
    finally:
        containers.podman("image", "unmount", name)


def test_push_pull_and_run(containers: Podman, registry: ShoalServer, make_context: MakeContext) -> None:
    name = f"{registry.host}/podman/hello:1"
    content = random_bytes(LAYER, 21)
    built = build(containers, name, make_context("hello from podman", {"data": content}))
    containers.podman("push", PLAIN, name)
    containers.podman("rmi", "--force", name)

    containers.podman("pull", PLAIN, name)

    assert containers.image_id(name) == built
    assert containers.run_image(name) == "hello from podman"
    assert file_in_image(containers, name, "data") == content


@pytest.mark.parametrize(("form", "media_type"), [("oci", OCI_MANIFEST), ("v2s2", DOCKER_MANIFEST)])
def test_both_manifest_formats(
    containers: Podman,
    shared_shoal: ShoalServer,
    client: RegistryClient,
    make_context: MakeContext,
    form: str,
    media_type: str,
) -> None:
    name = f"{shared_shoal.host}/podman/{form}:1"
    build(containers, name, make_context(form), "--format", "oci" if form == "oci" else "docker")
    containers.podman("push", PLAIN, "--format", form, name)
    assert client.manifest(f"podman/{form}", "1").media_type == media_type
    containers.podman("rmi", "--force", name)

    containers.podman("pull", PLAIN, name)

    assert containers.run_image(name) == form


def test_pushing_again_sends_no_layer(containers: Podman, proxy: CuttingProxy, make_context: MakeContext) -> None:
    name = f"{proxy.host}/podman/again:1"
    build(containers, name, make_context("again", {"data": random_bytes(LAYER, 22)}))
    containers.podman("push", PLAIN, name)
    assert proxy.count.up > LAYER
    proxy.reset_count()

    containers.podman("push", PLAIN, name)

    assert 0 < proxy.count.up < LITTLE


def test_pushing_under_another_name_mounts_the_layers(
    containers: Podman, proxy: CuttingProxy, make_context: MakeContext
) -> None:
    first, second = f"{proxy.host}/podman/mount-a:1", f"{proxy.host}/podman/mount-b:1"
    built = build(containers, first, make_context("mounted", {"data": random_bytes(LAYER, 23)}))
    containers.podman("push", PLAIN, first)
    containers.podman("tag", first, second)
    proxy.reset_count()

    containers.podman("push", PLAIN, second)

    assert 0 < proxy.count.up < LITTLE
    containers.podman("rmi", "--force", first, second)
    containers.podman("pull", PLAIN, second)
    assert containers.image_id(second) == built


def test_pull_by_digest(
    containers: Podman, shared_shoal: ShoalServer, client: RegistryClient, make_context: MakeContext
) -> None:
    name = f"{shared_shoal.host}/podman/digest:1"
    built = build(containers, name, make_context("by digest"))
    containers.podman("push", PLAIN, name)
    pinned = f"{shared_shoal.host}/podman/digest@{client.resolve('podman/digest', '1')}"
    containers.podman("rmi", "--force", name)

    containers.podman("pull", PLAIN, pinned)

    assert containers.image_id(pinned) == built


def test_an_index_of_two_architectures(containers: Podman, registry: ShoalServer, make_context: MakeContext) -> None:
    repository = f"{registry.host}/podman/index"
    listing = "localhost/listing"
    containers.buildah("manifest", "create", listing)
    built = {}
    for architecture in ("amd64", "arm64"):
        part = f"localhost/part-{architecture}"
        built[architecture] = build(containers, part, make_context(architecture), "--platform", f"linux/{architecture}")
        containers.buildah("manifest", "add", listing, f"containers-storage:{part}")
    containers.podman("manifest", "push", PLAIN, "--all", "--format", "oci", listing, f"docker://{repository}:1")
    containers.buildah("manifest", "push", PLAIN, "--all", listing, f"docker://{repository}:2")
    containers.podman("manifest", "rm", listing)
    containers.podman("rmi", "--force", *(f"localhost/part-{architecture}" for architecture in built))

    with RegistryClient(registry.url) as client:
        manifest = client.manifest("podman/index", "1")
        assert manifest.media_type == OCI_INDEX
        assert client.manifest("podman/index", "2").content == manifest.content
    for architecture, image in built.items():
        containers.podman("pull", PLAIN, "--platform", f"linux/{architecture}", f"{repository}:1")
        assert containers.image_id(f"{repository}:1") == image
    containers.podman("pull", PLAIN, "--platform", "linux/amd64", f"{repository}:2")
    assert containers.run_image(f"{repository}:2") == "amd64"


def test_zstd_layers(
    containers: Podman, shared_shoal: ShoalServer, client: RegistryClient, make_context: MakeContext
) -> None:
    name = f"{shared_shoal.host}/podman/zstd:1"
    content = random_bytes(LAYER, 24)
    build(containers, name, make_context("zstd", {"data": content}), "--format", "oci")

    containers.podman("push", PLAIN, "--format", "oci", "--compression-format", "zstd", name)

    layers = client.manifest("podman/zstd", "1").json()["layers"]
    # The first layers may be there already from other images, with gzip; the last is new.
    assert layers[-1]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    containers.podman("rmi", "--force", name)
    containers.podman("pull", PLAIN, name)
    assert containers.run_image(name) == "zstd"
    assert file_in_image(containers, name, "data") == content


def test_zstd_of_a_docker_image_ends_as_oci(
    containers: Podman, shared_shoal: ShoalServer, client: RegistryClient, make_context: MakeContext
) -> None:
    name = f"{shared_shoal.host}/podman/zstd-docker:1"
    build(containers, name, make_context("zstd", {"data": random_bytes(LAYER, 26)}), "--format", "docker")

    # Docker's format knows no zstd, so podman tries schema 1, which is refused, and then OCI.
    containers.podman("push", PLAIN, "--compression-format", "zstd", name)

    path = "/v2/podman/zstd-docker/manifests/1"
    shared_shoal.wait_for_log(lambda entry: entry.get("path") == path and entry.get("status") == 201)
    answers = [entry["status"] for entry in shared_shoal.logged() if entry.get("path") == path]
    assert answers[-1] == 201
    assert set(answers[:-1]) == {400}
    assert client.manifest("podman/zstd-docker", "1").media_type == OCI_MANIFEST
    containers.podman("rmi", "--force", name)
    containers.podman("pull", PLAIN, name)
    assert containers.run_image(name) == "zstd"


def test_buildah_without_a_dockerfile(
    containers: Podman, shared_shoal: ShoalServer, greeter: Path, tmp_path: Path
) -> None:
    name = f"{shared_shoal.host}/podman/buildah:1"
    message = tmp_path / "message"
    message.write_text("made by buildah")
    working = containers.buildah("from", "scratch").strip()
    containers.buildah("copy", working, greeter, "/greeter")
    containers.buildah("copy", working, message, "/message")
    containers.buildah("config", "--cmd", "/greeter", working)
    containers.buildah("commit", "--rm", working, name)
    built = containers.image_id(name)
    containers.buildah("push", PLAIN, name)
    containers.buildah("rmi", "--force", name)

    containers.buildah("pull", PLAIN, name)

    assert containers.image_id(name) == built
    assert containers.run_image(name) == "made by buildah"


def test_search_finds_repositories_and_tags(
    containers: Podman, shared_shoal: ShoalServer, client: RegistryClient, make_context: MakeContext
) -> None:
    host = shared_shoal.host
    name = f"{host}/podman/searched"
    build(containers, name, make_context("searched"))
    for tag in ("1.0", "1.1", "latest"):
        containers.podman("push", PLAIN, name, f"{name}:{tag}")

    tags = json.loads(containers.podman("search", PLAIN, "--list-tags", "--format", "json", name))
    found = containers.podman("search", PLAIN, "--format", "{{.Name}}", f"{host}/searched")

    assert tags == [{"Name": name, "Tags": ["1.0", "1.1", "latest"]}]
    assert found.split() == [name]


def test_a_pull_of_what_is_unchanged_still_works(
    containers: Podman, proxy: CuttingProxy, make_context: MakeContext
) -> None:
    name = f"{proxy.host}/podman/unchanged:1"
    built = build(containers, name, make_context("unchanged", {"data": random_bytes(LAYER, 25)}))
    containers.podman("push", PLAIN, name)
    proxy.reset_count()

    containers.podman("pull", PLAIN, name)

    assert containers.image_id(name) == built
    assert 0 < proxy.count.down < LITTLE


def test_a_missing_image_is_told(containers: Podman, shared_shoal: ShoalServer) -> None:
    containers.podman("pull", PLAIN, f"{shared_shoal.host}/podman/nothing:1", fails=True)
