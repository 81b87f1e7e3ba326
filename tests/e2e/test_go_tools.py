"""crane, oras and regctl, which Debian does not have: run where they are on PATH."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.content import (
    Blob,
    Image,
    Index,
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
from tests.harness.process import run
from tests.harness.server import ShoalServer

LAYER = 3_000_000
LITTLE = 200_000
SBOM = "application/vnd.example.sbom"


def crane(*words: str | Path, fails: bool = False) -> str:
    return run(["crane", "--insecure", *words], fails=fails).stdout


def oras(*words: str | Path, cwd: Path | None = None, fails: bool = False) -> str:
    return run(["oras", *words], cwd=cwd, fails=fails).stdout


def regctl(host: str, *words: str | Path, fails: bool = False) -> str:
    return run(["regctl", "--host", f"reg={host},tls=disabled", *words], fails=fails).stdout


def two_architectures(seed: int) -> Index:
    return index(*(image(random_layer(50_000, seed + n), architecture=a) for n, a in enumerate(("amd64", "arm64"))))


def layout_holds(folder: Path, *blobs: Blob) -> None:
    """An OCI layout has each blob, byte for byte."""
    for blob in blobs:
        assert (folder / "blobs/sha256" / blob.digest.removeprefix("sha256:")).read_bytes() == blob.content


def everything(whole: Index) -> list[Blob]:
    return [whole.manifest, *(blob for part in whole.images for blob in (part.manifest, *part.blobs))]


def check_index(registry: ShoalServer, repository: str, whole: Index) -> None:
    with RegistryClient(registry.url) as client:
        assert client.manifest(repository, "1") == whole.manifest
        for part in whole.images:
            client.check_image(repository, part)


@pytest.mark.require("crane")
def test_crane_pushes_and_pulls_an_index(registry: ShoalServer, tmp_path: Path) -> None:
    whole = two_architectures(81)
    name = f"{registry.host}/crane/index:1"

    crane("push", "--index", write_layout(whole, "1", tmp_path / "made"), name)

    nested = RegistryClient(registry.url).manifest("crane/index", "1").json()["manifests"]
    assert whole.digest in {item["digest"] for item in nested} | {crane("digest", name).strip()}
    crane("pull", "--format", "oci", name, tmp_path / "back")
    layout_holds(tmp_path / "back", *everything(whole))


@pytest.mark.require("crane")
def test_crane_pushes_again_and_copies_without_sending(
    proxy: CuttingProxy, client: RegistryClient, tmp_path: Path
) -> None:
    item = image(random_layer(LAYER, 83))
    layout = write_layout(item, "1", tmp_path / "made")
    crane("push", layout, f"{proxy.host}/crane/again:1")
    assert proxy.count.up > LAYER
    proxy.reset_count()

    crane("push", layout, f"{proxy.host}/crane/again:1")
    crane("copy", f"{proxy.host}/crane/again:1", f"{proxy.host}/crane/copied:1")
    crane("tag", f"{proxy.host}/crane/copied:1", "2")

    assert 0 < proxy.count.up < LITTLE
    assert proxy.count.down < LITTLE
    for tag in ("1", "2"):
        client.check_image("crane/copied", item, tag)


@pytest.mark.require("crane")
def test_crane_lists_and_deletes(shared_shoal: ShoalServer, client: RegistryClient) -> None:
    for number in range(3):
        client.push_image("crane/list", small_image(number), f"v{number}")
    repository = f"{shared_shoal.host}/crane/list"
    assert crane("ls", repository).split() == ["v0", "v1", "v2"]
    assert "crane/list" in crane("catalog", shared_shoal.host).split()

    crane("delete", f"{repository}@{small_image(1).digest}")

    assert crane("ls", repository).split() == ["v0", "v2"]
    crane("digest", f"{repository}:v1", fails=True)
    crane("validate", "--remote", f"{repository}:v2")


@pytest.mark.require("crane")
def test_crane_appends_a_layer(shared_shoal: ShoalServer, client: RegistryClient, tmp_path: Path) -> None:
    base = small_image(84)
    client.push_image("crane/append", base, "1")
    (tmp_path / "new.tar.gz").write_bytes(layer({"new": b"new"}).content)
    name = f"{shared_shoal.host}/crane/append"

    crane("append", "--base", f"{name}:1", "--new_layer", tmp_path / "new.tar.gz", "--new_tag", f"{name}:2")

    crane("validate", "--remote", f"{name}:2")
    digests = [item["digest"] for item in client.manifest("crane/append", "2").json()["layers"]]
    assert digests == [base.layers[0].digest, layer({"new": b"new"}).digest]


@pytest.mark.require("oras")
def test_oras_artifact_there_and_back(registry: ShoalServer, tmp_path: Path) -> None:
    content = random_bytes(LAYER, 85)
    (tmp_path / "model.bin").write_bytes(content)
    name = f"{registry.host}/oras/artifact:1"

    oras("push", "--plain-http", "--artifact-type", "application/vnd.example.model", name, "model.bin", cwd=tmp_path)

    oras("pull", "--plain-http", "--output", tmp_path / "back", name)
    assert (tmp_path / "back/model.bin").read_bytes() == content


def attach(registry: ShoalServer, repository: str, folder: Path) -> tuple[Image, str]:
    """An image with an attached file, by oras; returns the image and the referrer's digest."""
    item = small_image(86)
    with RegistryClient(registry.url) as client:
        client.push_image(repository, item, "1")
    (folder / "sbom.json").write_text('{"sbom": true}')
    command = ["attach", "--plain-http", "--distribution-spec", "v1.1-referrers-api", "--artifact-type", SBOM]
    command += ["--format", "json", f"{registry.host}/{repository}:1", "sbom.json:application/json"]
    return item, json.loads(oras(*command, cwd=folder))["digest"]


@pytest.mark.require("oras")
def test_oras_attaches_and_discovers(registry: ShoalServer, tmp_path: Path) -> None:
    item, referrer = attach(registry, "oras/attach", tmp_path)
    name = f"{registry.host}/oras/attach"
    command = ["discover", "--plain-http", "--distribution-spec", "v1.1-referrers-api", "--format", "json"]

    found = json.loads(oras(*command, "--artifact-type", SBOM, f"{name}:1"))
    other = json.loads(oras(*command, "--artifact-type", "application/vnd.example.other", f"{name}:1"))

    assert [entry["digest"] for entry in found["referrers"]] == [referrer]
    assert not other.get("referrers")
    with RegistryClient(registry.url) as client:
        assert [entry["digest"] for entry in client.referrers("oras/attach", item.digest)] == [referrer]
        assert client.tags("oras/attach") == ["1"], "oras fell back to the tag schema"
    oras("pull", "--plain-http", "--output", tmp_path / "back", f"{name}@{referrer}")
    assert (tmp_path / "back/sbom.json").read_text() == '{"sbom": true}'


@pytest.mark.require("oras")
def test_oras_copies_an_image_with_its_referrers(
    shared_shoal: ShoalServer, start_shoal: StartShoal, tmp_path: Path
) -> None:
    item, referrer = attach(shared_shoal, "oras/graph", tmp_path)
    other = start_shoal()

    source, target = f"{shared_shoal.host}/oras/graph:1", f"{other.host}/copied:1"
    oras("cp", "--recursive", "--from-plain-http", "--to-plain-http", source, target)

    with RegistryClient(other.url) as client:
        client.check_image("copied", item, "1")
        assert [entry["digest"] for entry in client.referrers("copied", item.digest)] == [referrer]


@pytest.mark.require("oras")
def test_oras_lists_and_deletes(shared_shoal: ShoalServer, client: RegistryClient) -> None:
    for number in range(2):
        client.push_image("oras/list", small_image(number), f"v{number}")
    repository = f"{shared_shoal.host}/oras/list"
    assert oras("repo", "tags", "--plain-http", repository).split() == ["v0", "v1"]
    assert "list" in oras("repo", "ls", "--plain-http", f"{shared_shoal.host}/oras").split()

    oras("manifest", "delete", "--plain-http", "--force", f"{repository}:v0")

    assert client.tags("oras/list") == ["v1"]
    assert client.resolve("oras/list", small_image(0).digest) is None


@pytest.mark.require("oras")
def test_oras_blobs(shared_shoal: ShoalServer, tmp_path: Path) -> None:
    content = random_bytes(LAYER, 87)
    (tmp_path / "blob").write_bytes(content)
    address = f"{shared_shoal.host}/oras/blobs@{digest_of(content)}"
    oras("blob", "push", "--plain-http", address, tmp_path / "blob")
    oras("blob", "fetch", "--plain-http", "--output", tmp_path / "back", address)
    assert (tmp_path / "back").read_bytes() == content

    oras("blob", "delete", "--plain-http", "--force", address)

    oras("blob", "fetch", "--plain-http", "--output", tmp_path / "gone", address, fails=True)


@pytest.mark.require("regctl")
def test_regctl_copies_an_index(registry: ShoalServer, tmp_path: Path) -> None:
    whole = two_architectures(88)
    layout = write_layout(whole, "1", tmp_path / "made")

    regctl(registry.host, "image", "copy", f"ocidir://{layout}:1", f"{registry.host}/regctl/index:1")

    check_index(registry, "regctl/index", whole)
    regctl(registry.host, "image", "copy", f"{registry.host}/regctl/index:1", f"ocidir://{tmp_path / 'back'}:1")
    layout_holds(tmp_path / "back", *everything(whole))


@pytest.mark.require("regctl")
def test_regctl_mounts_between_repositories(proxy: CuttingProxy, client: RegistryClient) -> None:
    item = image(random_layer(LAYER, 89))
    client.push_image("regctl/source", item, "1")

    regctl(proxy.host, "image", "copy", f"{proxy.host}/regctl/source:1", f"{proxy.host}/regctl/target:1")

    assert 0 < proxy.count.up < LITTLE
    assert proxy.count.down < LITTLE
    client.check_image("regctl/target", item, "1")


@pytest.mark.require("regctl")
def test_regctl_artifact_with_a_subject(registry: ShoalServer, tmp_path: Path) -> None:
    item = small_image(90)
    with RegistryClient(registry.url) as client:
        client.push_image("regctl/subject", item, "1")
    (tmp_path / "sbom").write_text("sbom")
    name = f"{registry.host}/regctl/subject:1"
    put = ["artifact", "put", "--artifact-type", SBOM, "--file", str(tmp_path / "sbom"), "--subject", name]
    regctl(registry.host, *put)

    template = "{{range .Descriptors}}{{.Digest}} {{.ArtifactType}}\n{{end}}"
    listed = regctl(registry.host, "artifact", "list", "--format", template, name).split()

    with RegistryClient(registry.url) as client:
        found = client.referrers("regctl/subject", item.digest, SBOM)
        assert client.tags("regctl/subject") == ["1"], "regctl fell back to the tag schema"
    assert listed == [found[0]["digest"], SBOM]
    got = regctl(registry.host, "artifact", "get", f"{registry.host}/regctl/subject@{listed[0]}")
    assert got == "sbom"


@pytest.mark.require("regctl")
def test_regctl_lists_and_deletes_one_tag(shared_shoal: ShoalServer, client: RegistryClient) -> None:
    for tag in ("a", "b"):
        client.push_image("regctl/tags", small_image(91), tag)
    host = shared_shoal.host
    assert regctl(host, "tag", "ls", f"{host}/regctl/tags").split() == ["a", "b"]

    regctl(host, "tag", "delete", f"{host}/regctl/tags:a")

    assert client.tags("regctl/tags") == ["b"]
    client.check_image("regctl/tags", small_image(91), "b")
    regctl(host, "manifest", "delete", f"{host}/regctl/tags@{small_image(91).digest}")
    assert client.resolve("regctl/tags", "b") is None


@pytest.mark.require("regctl")
def test_regctl_blobs(shared_shoal: ShoalServer, client: RegistryClient, tmp_path: Path) -> None:
    content = random_bytes(LAYER, 92)
    client.push_blob("regctl/blobs", content)
    host = shared_shoal.host

    regctl(host, "blob", "copy", f"{host}/regctl/blobs", f"{host}/regctl/blobs-copied", digest_of(content))

    assert client.blob("regctl/blobs-copied", digest_of(content)) == content
