"""A full disk: a clear error, no half file, pulls go on, and room that was made is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.faults import datadir
from tests.faults.conftest import StartNode
from tests.faults.node import EAGER, PATIENT, Node
from tests.harness.client import RegistryClient, error_code
from tests.harness.content import digest_of, image, random_bytes, random_layer, small_image
from tests.harness.process import run, wait_until

pytestmark = pytest.mark.require("root")

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a disk of 24 MiB: "tmpfs", or "ext4" on a loop device."""
    with ExitStack() as mounted:

        def make(kind: str) -> Path:
            place = tmp_path / "disk"
            place.mkdir()
            if kind == "tmpfs":
                run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place])
            else:
                drive = tmp_path / "drive"
                with drive.open("wb") as file:
                    file.truncate(24 * MIB)
                run(["mkfs.ext4", "-q", "-m", "0", "-N", "2048", drive])
                run(["mount", "-o", "loop", drive, place])
            mounted.callback(run, ["umount", "--lazy", place])
            return place

        yield make


def push_until_full(client: RegistryClient, repository: str) -> list[bytes]:
    """Push blobs of 1 MiB in all forms until one is refused as it should be; returns those that were taken."""
    taken: list[bytes] = []
    for number in range(40):
        content = random_bytes(MIB, number)
        digest = digest_of(content)
        if number % 2:
            params = {"digest": digest}
            answer = client.request("POST", f"/v2/{repository}/blobs/uploads/", params=params, data=content)
        else:
            answer = client.request("POST", f"/v2/{repository}/blobs/uploads/")
            if answer.status_code == 202:
                address = f"{answer.headers['Location']}?digest={digest}"
                answer = client.request("PUT", address, data=content)
        if answer.status_code != 201:
            assert answer.status_code == 507, answer.text
            assert error_code(answer) == "STORAGE_FULL"
            return taken
        taken.append(content)
    raise AssertionError("40 MiB went onto a disk of 24")


def fill_up(path: Path) -> None:
    """Take what room is left, to the last block."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def check_usable(node: Node, client: RegistryClient, taken: list[bytes]) -> None:
    """Everything that was taken can be pulled, and nothing else is there."""
    for content in taken:
        assert client.blob("app", digest_of(content)) == content
    node.reconfigure({**EAGER, "storage": {"reserve": 0}})
    wait_until(lambda: not datadir.leftovers(node.data), "nothing of the refused pushes is left")
    node.reconfigure({**PATIENT, "storage": {"reserve": 0}})
    datadir.check_journal(node.data)


def make_room_and_go_on(node: Node, client: RegistryClient, taken: list[bytes]) -> None:
    """Delete half of the blobs: their room comes back, and pushes work."""
    for content in taken[: len(taken) // 2]:
        client.request("DELETE", f"/v2/app/blobs/{digest_of(content)}", want=202)
    node.reconfigure({**EAGER, "storage": {"reserve": "1 MiB"}})
    wait_until(lambda: not datadir.leftovers(node.data), "the room comes back")
    made = image(random_layer(MIB, 99))
    client.push_image("app", made, "latest")
    client.check_image("app", made, "latest")
    client.request("GET", "/readyz", want=200)
    datadir.check_journal(node.data)
    datadir.check_integrity(node.data)


@pytest.mark.parametrize("workers", [1, 2])
def test_reserve_is_kept(start_node: StartNode, small_disk: Callable[[str], Path], workers: int) -> None:
    """Uploads end before the disk does, so that the database can still write: deletes make room."""
    settings = {"storage": {"reserve": "8 MiB"}, "collect": {"interval": 3600}}
    node = start_node(data=small_disk("tmpfs"), settings=settings, workers=workers)
    with RegistryClient(node.url) as client:
        client.push_image("other", small_image(1), "before")
        taken = push_until_full(client, "app")
        assert 5 <= len(taken) <= 16, "24 MiB without 8 in reserve"
        check_usable(node, client, taken)
        client.check_image("other", small_image(1), "before")
        client.push_manifest("other", "after", small_image(1).manifest)
        make_room_and_go_on(node, client, taken)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_disk_without_reserve_is_full(start_node: StartNode, small_disk: Callable[[str], Path], kind: str) -> None:
    """ENOSPC itself, for uploads and for SQLite: the server stays up, and goes on once there is room."""
    place = small_disk(kind)
    ballast = place / "ballast"
    ballast.write_bytes(bytes(2 * MIB))
    node = start_node(data=place, settings={"storage": {"reserve": 0}, "collect": {"interval": 3600}})
    with RegistryClient(node.url) as client:
        client.push_image("other", small_image(1), "before")
        taken = push_until_full(client, "app")
        assert len(taken) >= 5
        fill_up(place / "filler")
        statuses = []
        for number in range(200):
            answer = client.request(
                "PUT",
                f"/v2/other/manifests/tag{number}",
                data=small_image(1).manifest.content,
                headers={"Content-Type": small_image(1).manifest.media_type},
            )
            statuses.append(answer.status_code)
        assert set(statuses) <= {201, 507}, "the database is full, or still has room in its log"
        assert 507 in statuses
        check_usable(node, client, taken)
        client.check_image("other", small_image(1), "before")
        for number, status in enumerate(statuses):
            assert (client.resolve("other", f"tag{number}") is not None) == (status == 201)
        fill_up(place / "filler")
        client.request("GET", "/readyz", want=503)
        ballast.unlink()
        make_room_and_go_on(node, client, taken)
        assert node.process.poll() is None
        assert any(entry["level"] in ("error", "warning") for entry in node.logged()), "a full disk is logged"
