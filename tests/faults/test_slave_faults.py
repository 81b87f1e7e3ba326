"""What becomes of a slave whose disk is full, whose bytes are changed on their way, or whose clock jumps.

All the while somebody pulls whatever the slave shows, and nothing that is shown may lack anything.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.harness import content
from tests.harness.everything import nothing_wrong, tags_of, wait_until_same
from tests.harness.meddling_proxy import MeddlingProxy
from tests.harness.process import run, wait_until
from tests.harness.server import Settings, ShoalServer, Table

EVENT = b'{"type":"event"'
LARGE = 30_000
SWEEPING: dict[str, Table] = {"collect": {"interval": 0.05, "grace": 0.2}}


def of(master: str, **more: Table) -> Settings:
    """Settings of a slave. What it shows is to be whole by itself: nothing is read through."""
    return {"replication": {"role": "slave", "master": master, "read_through": "off"}, **more}


def in_a_blob(piece: bytes) -> int:
    """The middle of what can be nothing but bytes of a large layer."""
    return len(piece) // 2 if len(piece) > LARGE and EVENT not in piece else -1


def in_an_event(piece: bytes) -> int:
    place = piece.find(EVENT)
    return place + (len(piece) - place) // 2 if place >= 0 else -1


def test_a_blob_is_changed_on_its_way(start_shoal: StartShoal) -> None:
    master = start_shoal()
    with MeddlingProxy(master.port) as proxy:
        slave = start_shoal(settings=of(proxy.url))
        with nothing_wrong(master.url, slave.url) as pushes:
            proxy.flip(in_a_blob, times=2)
            for number in (1, 2):
                pushes.push_image("team/app", content.image(content.random_layer(2_000_000, number)), f"v{number}")
        assert proxy.done == 2
        slave.wait_for_log(lambda entry: "the bytes that came have the digest" in str(entry.get("error")))


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_in_the_middle_of_an_event(start_shoal: StartShoal, how: str) -> None:
    master = start_shoal()
    with MeddlingProxy(master.port) as proxy:
        slave = start_shoal(settings=of(proxy.url))
        with nothing_wrong(master.url, slave.url) as pushes:
            pushes.push_image("team/app", content.small_image(0), "v0")
            wait_until_same(master.url, slave.url)
            (proxy.cut_at if how == "cut" else proxy.flip)(in_an_event, times=4)
            for number in range(1, 9):
                pushes.push_image("team/app", content.small_image(number), f"v{number % 3}")
            wait_until(lambda: proxy.done == 4, "all faults struck", 60)
    assert master.complaints() == []


@pytest.mark.require("root")
def test_the_disk_of_a_slave_is_full(start_shoal: StartShoal, tmp_path: Path) -> None:
    master, disk = start_shoal(), tmp_path / "disk"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk])
    slave = ShoalServer(disk, settings=of(master.url, storage={"reserve": "4 MiB"}))
    try:
        with slave, nothing_wrong(master.url, slave.url) as pushes:
            pushes.push_image("small/app", content.small_image(1), "v1")
            wait_until_same(master.url, slave.url)
            for number in range(6):
                pushes.push_image("large/app", content.image(content.random_layer(6_000_000, number)), f"v{number}")
            slave.wait_for_log(lambda entry: entry.get("event") == "a blob could not be fetched")
            pushes.push_image("small/app", content.small_image(2), "v2")
            time.sleep(1)
            assert "small/app:v1" in tags_of(slave.url)
            run(["mount", "-o", "remount,size=100m", disk])
    finally:
        slave.close()
        run(["umount", "--lazy", disk])


@pytest.mark.require("faketime")
@pytest.mark.parametrize(
    ("jumps", "seed"), [(3, 1), pytest.param(60, 2, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_clocks_jump(start_shoal: StartShoal, tmp_path: Path, jumps: int, seed: int) -> None:
    """By days, forward and back, on both sides; what is measured in seconds goes by another clock."""
    [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    dice = random.Random(seed)  # noqa: S311 - no secret

    def environment(name: str) -> dict[str, str]:
        (tmp_path / name).write_text("+0")
        told = {"FAKETIME_TIMESTAMP_FILE": str(tmp_path / name), "FAKETIME_NO_CACHE": "1"}
        return {"LD_PRELOAD": str(library), "DONT_FAKE_MONOTONIC": "1", **told}

    master = start_shoal(env=environment("clock1"))
    slave = start_shoal(env=environment("clock2"), settings=of(master.url))
    with nothing_wrong(master.url, slave.url) as pushes:
        for number in range(jumps):
            for name in ("clock1", "clock2"):
                (tmp_path / name).write_text(f"{dice.randint(-5, 5):+}d")
            pushes.push_image("team/app", content.small_image(number), f"v{number % 3}")
            time.sleep(0.3)
    assert slave.complaints() == []


@pytest.mark.parametrize("tags", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_tags_are_moved_while_a_sweep_runs(start_shoal: StartShoal, tags: int) -> None:
    """To and fro between two images, of which now one and now the other is deleted."""
    master = start_shoal(settings=SWEEPING)
    slave = start_shoal(settings=of(master.url, **SWEEPING))
    images = content.small_image(1), content.small_image(2)
    with nothing_wrong(master.url, slave.url) as pushes:
        for turn in range(4):
            image, other = images[turn % 2], images[(turn + 1) % 2]
            pushes.push_image("team/app", image, "first")
            for number in range(tags):
                pushes.push_manifest("team/app", f"v{number}", image.manifest)
            if turn:
                pushes.delete_manifest("team/app", other.digest)
            time.sleep(0.5)
    assert slave.complaints() == []
