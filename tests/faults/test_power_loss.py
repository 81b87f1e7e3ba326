"""Power loss: the disk forgets what was not synced. Everything is on it, the database too."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import datadir
from tests.faults.conftest import StartNode
from tests.faults.ledger import Ledger, offset_of
from tests.faults.node import check_after
from tests.faults.power import KINDS, Power, other_boot
from tests.faults.workload import Crowd, Worker
from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, random_bytes

pytestmark = [
    pytest.mark.require("root", "python:mfusepy", "fusermount3"),
    pytest.mark.timeout(1800),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Power]:
    with Power(tmp_path / "disk") as power:
        yield power


def test_disk_forgets_what_is_not_synced(disk: Power, tmp_path: Path) -> None:
    """The tool itself: bytes need fsync of the file, names need fsync of the folder."""
    for name in ("nothing", "bytes", "both"):
        with (disk.path / name).open("wb") as file:
            file.write(b"content")
            file.flush()
            if name != "nothing":
                os.fsync(file.fileno())
    (disk.path / "both").rename(disk.path / "renamed")
    folder = os.open(disk.path, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    (disk.path / "renamed").rename(disk.path / "late")
    disk.fail("synced", 0, tmp_path / "survivors")
    found = {path.name: path.read_bytes() for path in (tmp_path / "survivors").iterdir()}
    assert found == {"nothing": b"", "bytes": b"content", "renamed": b"content"}
    with pytest.raises(OSError, match="Input/output error"):
        (disk.path / "more").write_bytes(b"")


def lose_power(start_node: StartNode, folder: Path, kind: str, seed: int) -> int:
    """Four clients at work, then the power fails; returns how many changes had been acknowledged."""
    folder.mkdir()
    ledger = Ledger()
    with Power(folder / "disk") as disk:
        node = start_node(data=disk.path / "data", prefix=other_boot(folder))
        crowd = [Worker(node.url, ledger, f"client{name}", seed * 10 + name) for name in range(4)]
        with Crowd(crowd, broken=(500,)):
            time.sleep(random.Random(seed).uniform(0.3, 1.2))  # noqa: S311 - no secret
            # What is acknowledged after this line may be lost; before it, nothing may.
            disk.fail(kind, seed, folder / "survivors")
            node.kill()
    node = start_node(data=folder / "survivors" / "data", prefix=other_boot(folder), port=node.port)
    check_after(node, ledger, power_failed=True)
    datadir.check_integrity(node.data)
    node.stop()
    return ledger.acknowledged


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_acknowledged_survives(start_node: StartNode, tmp_path: Path, kind: str) -> None:
    assert lose_power(start_node, tmp_path / "run", kind, 1) > 0


def test_upload_after_power_loss(start_node: StartNode, tmp_path: Path) -> None:
    """An offset that was told may become smaller; going on from there gives the right blob, never another one."""
    content = random_bytes(300_000, 5)
    offsets = []
    for number, kind in enumerate(KINDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Power(folder / "disk") as disk:
            node = start_node(data=disk.path / "data", prefix=other_boot(folder))
            with RegistryClient(node.url) as client:
                location = client.start_upload("app")
                for start in range(0, 200_000, 50_000):
                    client.patch(location, content[start : start + 50_000])
                    if start == 50_000:
                        disk.sync()
                disk.fail(kind, number, folder / "survivors")
                node.kill()
        node = start_node(data=folder / "survivors" / "data", prefix=other_boot(folder), port=node.port)
        with RegistryClient(node.url) as client:
            answer = client.request("GET", location, want=(204, 404))
            if answer.status_code == 204:
                offset = offset_of(answer.headers["Range"])
                assert offset <= 200_000
                offsets.append(offset)
                client.finish_upload(location, digest_of(content), content[offset:])
                assert client.blob("app", digest_of(content)) == content
        node.stop()
    assert any(0 < offset < 200_000 for offset in offsets), f"no upload went on where the disk was: {offsets}"


def test_upload_that_was_synced_goes_on(start_node: StartNode, tmp_path: Path) -> None:
    """After a power loss that cost nothing the offset is the one that was told: the bytes are read and compared."""
    content = random_bytes(300_000, 6)
    node = start_node(data=tmp_path / "data", prefix=other_boot(tmp_path))
    with RegistryClient(node.url) as client:
        location = client.patch(client.start_upload("app"), content[:200_000])
        damaged = client.patch(client.start_upload("app"), content[:200_000])
    node.kill()
    with (node.data / "uploads" / f"{damaged.rpartition('/')[2]}.data").open("r+b") as file:
        file.write(b"zeros that a disk puts where it lost something")
    node = start_node(data=tmp_path / "data", prefix=other_boot(tmp_path), port=node.port)
    with RegistryClient(node.url) as client:
        for address, offset in ((location, 200_000), (damaged, 0)):
            assert offset_of(client.request("GET", address, want=204).headers["Range"]) == offset
            client.finish_upload(address, digest_of(content), content[offset:])
        assert client.blob("app", digest_of(content)) == content


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_acknowledged_survives_often(start_node: StartNode, tmp_path: Path, kind: str) -> None:
    assert sum(lose_power(start_node, tmp_path / f"run{seed}", kind, seed) for seed in range(2, 17)) > 0
