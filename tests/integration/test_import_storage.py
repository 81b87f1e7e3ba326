"""`shoal import distribution`: the storage of a real docker-registry becomes ours."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.faults import datadir
from tests.faults.steps import Step, Steps
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.docker_registry import DockerRegistry, blob_file, manifests_of
from tests.harness.moving import Holdings, command, fill, foreign_layer_image, fsck, kinds, shoal, take
from tests.harness.server import ShoalServer

pytestmark = pytest.mark.require("docker-registry")
Old = tuple[Path, Holdings]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """A storage that is full, and its registry stopped. Do not change it."""
    data = tmp_path_factory.mktemp("old") / "storage"
    with DockerRegistry(data) as registry, RegistryClient(registry.url) as client:
        return data, fill(client)


@pytest.fixture
def copy_of_old(old: Old, tmp_path: Path) -> Old:
    """The same, to be changed."""
    return shutil.copytree(old[0], tmp_path / "old"), old[1]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[Path], RegistryClient]]:
    """Serves a data directory; gives a client of it."""
    running: list[ShoalServer] = []

    def serve(data: Path) -> RegistryClient:
        running.append(ShoalServer(data).start())
        return RegistryClient(running[-1].url)

    yield serve
    for server in running:
        server.close()


def test_everything_is_taken_byte_for_byte(old: Old, tmp_path: Path, served: Callable[[Path], RegistryClient]) -> None:
    storage, holdings = old
    told = take("distribution", storage, "--data", tmp_path / "new")
    assert (told["repositories"], told["tags"], told["complete"]) == (3, 7, True)
    assert told["bytes"]["copied"] == 0
    assert told["bytes"]["linked"] > 5_000_000
    assert fsck(tmp_path / "new", "--deep") == []
    with served(tmp_path / "new") as client:
        holdings.check(client)
        signed = holdings.indexes[1][1].images[0]
        assert [entry["digest"] for entry in client.referrers("team_a/list", signed.digest)] == [
            holdings.tags["team_a/list"]["signature"]
        ]


def test_blobs_are_linked_and_nothing_is_left_behind(old: Old, tmp_path: Path) -> None:
    storage, holdings = old
    take("distribution", storage, "--data", tmp_path / "new")
    for _, image in holdings.images:
        for blob in image.blobs:
            ours = datadir.blob_file(tmp_path / "new", blob.digest)
            assert ours.samefile(blob_file(storage, blob.digest))
    assert datadir.leftovers(tmp_path / "new") == []
    assert datadir.check_journal(tmp_path / "new") > 0


def test_a_second_run_takes_only_what_is_new(copy_of_old: Old, tmp_path: Path) -> None:
    storage, _ = copy_of_old
    first = take("distribution", storage, "--data", tmp_path / "new")
    serial = datadir.check_journal(tmp_path / "new")
    again = take("distribution", storage, "--data", tmp_path / "new")
    assert [again[name] for name in ("tags", "manifests", "blobs")] == [0, 0, 0]
    assert again["skipped"] == {name: first[name] for name in ("tags", "manifests", "blobs")}
    assert datadir.check_journal(tmp_path / "new") == serial
    with DockerRegistry(storage) as registry, RegistryClient(registry.url) as client:
        image = content.small_image(50)
        client.push_image("app", image, "v1")
    told = take("distribution", storage, "--data", tmp_path / "new")
    assert [told[name] for name in ("tags", "manifests", "blobs")] == [1, 1, 2]


def test_across_file_systems_blobs_are_copied(old: Old, served: Callable[[Path], RegistryClient]) -> None:
    storage, holdings = old
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        told = take("distribution", storage, "--data", Path(memory, "new"))
        assert told["bytes"]["linked"] == 0
        assert told["bytes"]["copied"] > 5_000_000
        assert datadir.leftovers(Path(memory, "new")) == []
        with served(Path(memory, "new")) as client:
            holdings.check(client)


def test_only_repositories_that_are_named(old: Old, tmp_path: Path) -> None:
    told = take("distribution", old[0], "--data", tmp_path / "new", "--repo", "app/*", "--repo", "team_*")
    assert told["repositories"] == 2
    names = {name for name, _ in datadir.manifests(tmp_path / "new")}
    assert names == {"app/deep/er", "team_a/list"}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """A storage whose import takes a while."""
    data, holdings = tmp_path_factory.mktemp("many") / "storage", Holdings()
    with DockerRegistry(data) as registry, RegistryClient(registry.url) as client:
        for number in range(40):
            image = content.image(content.random_layer(1_000_000, number))
            holdings.image(client, f"many/of-{number % 4}", image, f"v{number}")
    return data, holdings


@pytest.mark.require("gcc")
def test_an_import_that_was_killed_goes_on(
    many: Old, steps_library: Path, tmp_path: Path, served: Callable[[Path], RegistryClient]
) -> None:
    storage, holdings = many
    data, words = tmp_path / "new", command("import", "distribution", storage, "--data", tmp_path / "new")
    steps = Steps(steps_library, data, below="blobs")
    for files in (3, 47):
        steps.kill(words, Step.RENAME, files + 1)
        assert fsck(data) == [], "an interruption is no damage"
    told = take("distribution", storage, "--data", data)
    assert told["manifests"] + told["skipped"]["manifests"] == 40
    assert told["skipped"]["manifests"] > 0
    assert fsck(data, "--deep") == []
    with served(data) as client:
        holdings.check(client)


def _flip(file: Path) -> None:
    """Another byte in the middle, as a disk that forgets would have it."""
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)


def test_damage_in_the_source_is_told_and_the_rest_is_taken(
    copy_of_old: Old, tmp_path: Path, served: Callable[[Path], RegistryClient]
) -> None:
    storage, holdings = copy_of_old
    tags = holdings.tags["app"]
    images = {image.digest: image for _, image in holdings.images}
    layer, config = images[tags["v1"]].layers[1], images[tags["docker"]].config
    _flip(blob_file(storage, layer.digest))
    blob_file(storage, config.digest).unlink()
    child = holdings.indexes[1][1].images[1]
    _flip(blob_file(storage, child.digest))
    (manifests_of(storage, "app/deep/er") / "tags/1.0/current/link").write_text("sha256:cut")

    told = take("distribution", storage, "--data", tmp_path / "new", status=1)
    assert kinds(told["problems"]) == {
        (layer.digest, "damaged"),
        (tags["v1"], "incomplete"),
        ("v1", "incomplete"),
        (config.digest, "missing"),
        (tags["docker"], "incomplete"),
        ("docker", "incomplete"),
        (child.digest, "damaged"),
        (holdings.tags["team_a/list"]["oci"], "incomplete"),
        ("oci", "incomplete"),
        ("1.0", "damaged"),
    }
    assert all(problem["reason"] for problem in told["problems"])
    assert fsck(tmp_path / "new", "--deep") == []
    with served(tmp_path / "new") as client:
        assert client.tags("app") == ["latest"]
        client.check_image("app", images[tags["latest"]], "latest")
        assert client.tags("team_a/list") == ["docker", "signature"]
        assert not client.has_blob("app", layer.digest)


def test_what_the_old_registry_says_and_we_do_not_take(copy_of_old: Old, tmp_path: Path) -> None:
    storage, _ = copy_of_old
    old_kind = b'{"schemaVersion": 1, "name": "app", "tag": "ancient", "fsLayers": [], "history": []}'
    digest = content.digest_of(old_kind)
    blob_file(storage, digest).parent.mkdir(parents=True)
    blob_file(storage, digest).write_bytes(old_kind)
    revision = manifests_of(storage, "app") / "revisions/sha256" / digest.removeprefix("sha256:")
    for folder in (revision, manifests_of(storage, "app") / "tags/ancient/current"):
        folder.mkdir(parents=True)
        (folder / "link").write_text(digest)
    told = take("distribution", storage, "--data", tmp_path / "new", status=1)
    assert kinds(told["problems"]) == {(digest, "refused"), ("ancient", "refused")}
    assert "schema 1" in told["problems"][0]["reason"]
    table = shoal("import", "distribution", storage, "--data", tmp_path / "new")
    assert table.returncode == 1
    assert "schema 1" in " ".join(table.stdout.split())


def test_a_layer_from_elsewhere_need_not_be_there(
    copy_of_old: Old, tmp_path: Path, served: Callable[[Path], RegistryClient]
) -> None:
    storage, _ = copy_of_old
    image = foreign_layer_image()
    revision = manifests_of(storage, "app") / "revisions/sha256" / image.digest.removeprefix("sha256:")
    for file, text in (
        (blob_file(storage, image.digest), image.manifest.content),
        (blob_file(storage, image.config.digest), image.config.content),
        (revision / "link", image.digest.encode()),
    ):
        file.parent.mkdir(parents=True)
        file.write_bytes(text)
    take("distribution", storage, "--data", tmp_path / "new")
    with served(tmp_path / "new") as client:
        assert client.manifest("app", image.digest) == image.manifest


def test_with_a_server_on_the_data_it_names_the_other_way(old: Old, shoal_server: ShoalServer) -> None:
    done = shoal("import", "distribution", old[0], "--data", shoal_server.data)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--server URL" in done.stderr
    told = take("distribution", old[0], "--server", shoal_server.url)
    assert told["bytes"]["copied"] > 5_000_000
    with RegistryClient(shoal_server.url) as client:
        old[1].check(client)
    again = take("distribution", old[0], "--server", shoal_server.url)
    assert [again[name] for name in ("tags", "manifests", "blobs")] == [0, 0, 0]
    assert not shoal_server.complaints()


def test_a_damaged_blob_stops_no_push(copy_of_old: Old, shoal_server: ShoalServer) -> None:
    storage, holdings = copy_of_old
    layer = holdings.images[0][1].layers[1]
    _flip(blob_file(storage, layer.digest))
    told = take("distribution", storage, "--server", shoal_server.url, status=1)
    assert (layer.digest, "damaged") in kinds(told["problems"])
    assert os.listdir(shoal_server.data / "uploads") == []  # noqa: PTH208 - a list to compare


@pytest.fixture
def shoal_server(start_shoal: StartShoal) -> ShoalServer:
    return start_shoal()


@pytest.mark.parametrize("words", [["distribution", "/nowhere"], ["distribution", "/etc"], ["registry", "nonsense"]])
def test_a_source_that_is_none_is_told(words: list[str], tmp_path: Path) -> None:
    done = shoal("import", *words, "--data", tmp_path / "new")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()
