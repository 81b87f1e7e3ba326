"""`shoal import registry`: from a registry that runs, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.faults import datadir
from tests.faults.steps import Step, Steps
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.docker_registry import ACCOUNT, DockerRegistry, blob_file
from tests.harness.moving import Holdings, fill, fsck, kinds, shoal, take
from tests.harness.server import ShoalServer
from tests.harness.token_gate import TokenGate


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DockerRegistry, Holdings]]:
    with DockerRegistry(tmp_path_factory.mktemp("old") / "storage") as registry:
        with RegistryClient(registry.url) as client:
            holdings = fill(client)
        yield registry, holdings


@pytest.mark.require("docker-registry")
def test_from_docker_registry_byte_for_byte(old: tuple[DockerRegistry, Holdings], tmp_path: Path) -> None:
    registry, holdings = old
    told = take("registry", registry.url, "--data", tmp_path / "new")
    assert (told["repositories"], told["tags"], told["complete"]) == (3, 7, True)
    assert fsck(tmp_path / "new", "--deep") == []
    assert datadir.leftovers(tmp_path / "new") == []
    again = take("registry", registry.url, "--data", tmp_path / "new")
    assert [again[name] for name in ("tags", "manifests", "blobs")] == [0, 0, 0]
    with ShoalServer(tmp_path / "new") as server, RegistryClient(server.url) as client:
        holdings.check(client, untagged=False)


@pytest.mark.require("docker-registry")
def test_blobs_that_break_off_are_gone_on_with(old: tuple[DockerRegistry, Holdings], tmp_path: Path) -> None:
    registry, holdings = old
    large = max((blob for _, image in holdings.images for blob in image.blobs), key=lambda blob: blob.size)
    with CuttingProxy(registry.port) as proxy:
        proxy.cut("down", after=2_000_000, times=2)
        take("registry", proxy.url, "--data", tmp_path / "new", "--jobs", "1")
        assert proxy.count.struck == 2
        assert proxy.count.down < large.size + 2_000_000, "it did not begin anew"
    assert fsck(tmp_path / "new", "--deep") == []


@pytest.mark.require("docker-registry")
def test_damage_is_told(tmp_path: Path) -> None:
    with DockerRegistry(tmp_path / "old") as registry, RegistryClient(registry.url) as client:
        whole, damaged, cut = (content.small_image(number) for number in range(3))
        for number, image in enumerate((whole, damaged, cut)):
            client.push_image("app", image, f"v{number}")
        blob_file(tmp_path / "old", damaged.layers[0].digest).write_bytes(b"x" * damaged.layers[0].size)
        blob_file(tmp_path / "old", cut.layers[0].digest).unlink()
        told = take("registry", registry.url, "--data", tmp_path / "new", status=1)
    assert (damaged.layers[0].digest, "damaged") in kinds(told["problems"])
    assert (cut.layers[0].digest, "missing") in kinds(told["problems"])
    assert [told["tags"], told["manifests"]] == [1, 1]
    assert fsck(tmp_path / "new", "--deep") == []


@pytest.mark.require("docker-registry")
def test_logging_in_with_a_password(tmp_path: Path) -> None:
    with DockerRegistry(tmp_path / "old", closed=True) as registry, RegistryClient(registry.url) as client:
        client.session.auth = ACCOUNT
        client.push_image("app", content.small_image(1), "v1")
        refused = take("registry", registry.url, "--data", tmp_path / "new", status=1)
        assert "status 401" in refused["stopped"]
        words = ("registry", registry.url, "--data", tmp_path / "new", "--user", ACCOUNT[0], "--password-stdin")
        assert take(*words, stdin=ACCOUNT[1] + "\n")["tags"] == 1


def test_logging_in_with_tokens(start_shoal: StartShoal, tmp_path: Path) -> None:
    source = start_shoal()
    with RegistryClient(source.url) as client:
        client.push_image("app", content.small_image(1), "v1")
    with TokenGate(source.url, *ACCOUNT) as gate:
        words = ("registry", gate.url, "--data", tmp_path / "new")
        refused = take(*words, status=1)
        assert "status 401" in refused["stopped"]
        assert take(*words, "--user", ACCOUNT[0], "--password-stdin", stdin=ACCOUNT[1])["tags"] == 1
        assert gate.scopes == {"registry:catalog:*", "repository:app:pull"}


def test_from_shoal_itself_to_another_one(start_shoal: StartShoal) -> None:
    source, target = start_shoal(), start_shoal()
    with RegistryClient(source.url) as client:
        holdings = fill(client)
        signed = holdings.images[0][1]
        signature = content.artifact(content.Blob(b"signature"), subject=signed.manifest)
        of_signature = content.artifact(content.Blob(b"of it"), subject=signature.manifest)
        for image in (signature, of_signature):
            client.push_image("app", image)
        inner = content.index(content.small_image(20))
        client.push_index("app", inner)
        outer = content.json_blob(
            {"schemaVersion": 2, "mediaType": content.OCI_INDEX, "manifests": [inner.manifest.descriptor()]},
            content.OCI_INDEX,
        )
        client.push_manifest("app", "nested", outer)
        holdings.tags["app"]["nested"] = outer.digest
        other_name = content.small_image(21)
        client.push_image("app", other_name)
        client.request(
            "PUT",
            f"/v2/app/manifests/{other_name.manifest.sha512}",
            want=201,
            data=other_name.manifest.content,
            headers={"Content-Type": other_name.manifest.media_type},
            params={"tag": "long"},
        )
        holdings.tags["app"]["long"] = other_name.manifest.sha512
    take("registry", source.url, "--server", target.url)
    with RegistryClient(target.url) as client:
        holdings.check(client, untagged=False)
        client.check_image("app", of_signature)
        client.check_image("app", inner.images[0])
        assert [entry["digest"] for entry in client.referrers("app", signed.digest)] == [signature.digest]
    assert not source.complaints()
    assert not target.complaints()


def test_pages_of_repositories_and_tags(start_shoal: StartShoal, tmp_path: Path) -> None:
    source, image = start_shoal(), content.small_image(1)
    with RegistryClient(source.url) as client:
        client.push_image("app", image, "v0")
        path = f"/v2/app/manifests/{image.digest}"
        for start in range(0, 10_100, 100):
            params = [("tag", f"t{number}") for number in range(start, start + 100)]
            headers = {"Content-Type": image.manifest.media_type}
            client.request("PUT", path, want=201, data=image.manifest.content, headers=headers, params=params)
    assert take("registry", source.url, "--data", tmp_path / "new")["tags"] == 10_101


@pytest.mark.require("gcc")
def test_a_registry_that_goes_away_stops_the_import_and_another_run_goes_on(
    start_shoal: StartShoal, steps_library: Path, tmp_path: Path
) -> None:
    steps = Steps(steps_library, tmp_path / "shoal1")
    source, holdings = start_shoal(env=steps.environment), Holdings()
    with RegistryClient(source.url) as client:
        for number in range(20):
            holdings.image(client, "app", content.image(content.random_layer(1_000_000, number)), f"v{number}")
    data = tmp_path / "new"
    steps.watch(Step.ANSWER, hit=60)
    done = shoal("import", "registry", source.url, "--data", data)
    assert steps.was_hit
    assert done.returncode == 1
    assert "Stopped" in done.stdout
    assert fsck(data) == []
    steps.ignore()
    source.restart()
    told = take("registry", source.url, "--data", data)
    assert told["skipped"]["blobs"] >= 3
    assert told["tags"] + told["skipped"]["tags"] == 20


def test_nobody_answers(tmp_path: Path) -> None:
    done = shoal("import", "registry", "http://127.0.0.1:9", "--data", tmp_path / "new")
    assert done.returncode == 1
    assert "does not answer" in " ".join(done.stdout.split())
    done = shoal("import", "registry", "http://127.0.0.1:9", "--server", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "does not answer" in done.stderr
