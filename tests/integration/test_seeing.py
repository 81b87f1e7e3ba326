"""What an administrator sees of slaves, and does to them."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence

import pytest
import requests

from tests.conftest import StartShoal
from tests.harness import content
from tests.harness.administration import Commands
from tests.harness.client import RegistryClient
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.everything import PullsEverything, tags_of, wait_until_same
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer


def slave_of(start_shoal: StartShoal, url: str, **replication: object) -> ShoalServer:
    return start_shoal(settings={"replication": {"role": "slave", "master": url, "read_through": "off", **replication}})


def test_waiting_for_a_slave(start_shoal: StartShoal) -> None:
    master = start_shoal()
    small, large = content.small_image(1), content.image(content.random_layer(6_000_000, 2))
    shoal = Commands("--data", master.data)
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        pushes.push_image("small/app", small, "v1")
        told = shoal.run("replication", "wait", "small/app:v1", "--timeout", "0.2s", status=1).stderr
        assert "0 slaves are there" in told
        slave = slave_of(start_shoal, proxy.url)
        shoal("replication", "wait", "small/app:v1", "--timeout", "20s")
        assert "small/app:v1" in tags_of(slave.url)
        proxy.stall("down", after=3_000_000)
        pushes.push_image("large/app", large, "v1")
        wait_until(lambda: shoal.json("replication", "status")[0]["waiting"] > 0, "the slave has heard of it")
        told = shoal.run("replication", "wait", "large/app:v1", "--timeout", "0.5s", status=1).stderr
        assert "these slaves do not show large/app:v1" in told
        assert "127.0.0.1" in told
        # what waits elsewhere is in nobody's way
        pushes.push_image("small/app", content.small_image(3), "v2")
        shoal("replication", "wait", "small/app:v2", "--timeout", "20s")
        assert "small/app:v2" in tags_of(slave.url)
        proxy.heal()
        shoal("replication", "wait", f"large/app@{large.digest}", "--slaves", "1", "--timeout", "30s")
        assert "large/app:v1" in tags_of(slave.url)
        assert "no such tag" in shoal.refused("replication", "wait", "small/app:v9")


def test_waiting_with_the_right_to_pull(start_shoal: StartShoal) -> None:
    master = start_shoal()
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
    shoal = Commands("--data", master.data)
    shoal.add_admin()
    shoal("user", "add", "bob", "--password-stdin", text="another horse battery\n")

    def status(repository: str) -> int:
        url = f"{master.url}/api/v1/replication/wait/{repository}"
        query = {"reference": "v1", "timeout": "0"}
        return requests.get(url, params=query, auth=("bob", "another horse battery"), timeout=30).status_code

    assert status("team/app") == 403
    shoal("grant", "set", "bob", "team/**", "pull")
    assert status("team/app") == 200
    assert status("other/app") == 403


def test_a_log_that_was_cut_off_during_an_outage(start_shoal: StartShoal) -> None:
    """The slave takes a snapshot, and fetches no blob that it has."""
    kept = {"replication": {"keep_events": 1000, "most_events": 1000}, "collect": {"interval": 0.3}}
    master = start_shoal(settings=kept)
    image, other, layer = content.small_image(1), content.small_image(5), content.random_layer(3_000_000, 2)
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        slave = slave_of(start_shoal, proxy.url)
        pushes.push_image("team/large", content.image(layer), "v1")
        for tag, each in (("v1", image), ("v2", other), ("gone", content.small_image(3))):
            pushes.push_image("team/app", each, tag)
        wait_until_same(master.url, slave.url)
        with PullsEverything(slave.url) as everything:
            proxy.cut("down", after=0, times=1_000_000)
            move_tag(pushes, "team/app", [image, other], 1200)
            pushes.delete_manifest("team/app", content.small_image(3).digest)
            master.wait_for_log(lambda entry: "was cut off" in str(entry.get("event")))
            before = proxy.count.down
            proxy.heal()
            wait_until_same(master.url, slave.url)
        assert everything.violations == []
        slave.wait_for_log(lambda entry: "a snapshot is taken" in str(entry.get("event")))
        assert proxy.count.down - before < 1_500_000, "no blob came again"
        pushes.push_image("team/app", content.small_image(4), "new")
        wait_until_same(master.url, slave.url)
    assert first_serial(master, "journal") > 1
    master.stop()
    Commands("--data", master.data)("fsck")


@pytest.mark.slow
def test_a_slave_cuts_its_log_too(start_shoal: StartShoal) -> None:
    master = start_shoal()
    cut = {"role": "slave", "master": master.url, "keep_events": 1000, "most_events": 1000}
    slave = start_shoal(settings={"replication": cut, "collect": {"interval": 0.3}})
    image = content.small_image(1)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", image, "v1")
        wait_until_same(master.url, slave.url)
        pushes.push_image("team/app", content.small_image(5), "v1")
        move_tag(pushes, "team/app", [image, content.small_image(5)], 1200)
        wait_until(lambda: first_serial(slave, "upstream_log") > 100, "it is cut")
        pushes.push_image("team/app", content.small_image(2), "v2")
        below = slave_of(start_shoal, slave.url)  # by a snapshot, and the log that is left
        wait_until_same(master.url, below.url)
        pushes.push_image("team/app", content.small_image(3), "v3")
        slave.stop()
        slave.start()
        wait_until_same(master.url, below.url)
    assert slave.complaints() == []


def move_tag(pushes: RegistryClient, repository: str, images: Sequence[content.Image], count: int) -> None:
    """So many events: a tag that goes from one image to the next."""
    for number in range(count):
        pushes.push_manifest(repository, "moved", images[number % len(images)].manifest)


def first_serial(server: ShoalServer, log: str) -> int:
    with contextlib.closing(sqlite3.connect(server.data / "shoal.db")) as database:
        return int(database.execute(f"SELECT min(serial) FROM {log}").fetchone()[0])  # noqa: S608 - ours


def test_drift_is_found_told_and_healed(start_shoal: StartShoal) -> None:
    master = start_shoal()
    slave = slave_of(start_shoal, master.url)
    image, other = content.small_image(1), content.small_image(2)
    with RegistryClient(master.url) as pushes:
        for name in ("team/app", "team/other", "team/third"):
            pushes.push_image(name, image, "v1")
            pushes.push_image(name, other, "v2")
        wait_until_same(master.url, slave.url)
        at_slave = Commands("--data", slave.data)
        assert "3 repositories: no items differed" in at_slave("replication", "verify")
        slave.stop()
        with contextlib.closing(sqlite3.connect(slave.data / "shoal.db")) as database, database:
            ids = dict(database.execute("SELECT name, id FROM repositories").fetchall())
            app, another, third = (ids[name] for name in ("team/app", "team/other", "team/third"))
            database.execute("UPDATE tags SET digest = ? WHERE name = 'v1' AND repository_id = ?", (other.digest, app))
            database.execute("DELETE FROM tags WHERE name = 'v2' AND repository_id = ?", (app,))
            database.execute(
                "INSERT INTO tags (repository_id, name, digest) VALUES (?, 'ghost', ?)", (another, image.digest)
            )
            database.execute("DELETE FROM tags WHERE repository_id = ?", (third,))
            database.execute("DELETE FROM manifests WHERE repository_id = ?", (third,))
        slave.start()
        assert tags_of(slave.url) != tags_of(master.url)
        told = at_slave.run("replication", "verify", status=1).stdout
        for line in (
            "team/app: tag v1 is",
            "team/app: tag v2 is missing",
            "team/other: tag ghost",
            "team/third: manifest",
        ):
            assert line in told, told
        wait_until_same(master.url, slave.url)
        assert "no items differed" in at_slave("replication", "verify")
        at_master = Commands("--data", master.data)
        wait_until(lambda: at_master.json("replication", "status")[0]["drift"] == 7, "the master is told")
        assert "shoal_replication_drift_total 7.0" in requests.get(f"{slave.url}/metrics", timeout=30).text


def test_a_slave_is_paused_and_begins_anew(start_shoal: StartShoal) -> None:
    master = start_shoal()
    slave = slave_of(start_shoal, master.url)
    at_slave, at_master = Commands("--data", slave.data), Commands("--data", master.data)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
        wait_until_same(master.url, slave.url)
        before = tags_of(slave.url)
        at_slave("replication", "pause")
        wait_until(
            lambda: [each["state"] for each in at_master.json("replication", "status")] == ["paused"], "it is paused"
        )
        pushes.push_image("team/app", content.small_image(2), "v2")
        slave.stop()
        slave.start()
        time.sleep(1.5)
        assert tags_of(slave.url) == before
        assert "(paused)" in at_slave("replication", "own")
        at_slave("replication", "resume")
        wait_until_same(master.url, slave.url)
        at_slave("replication", "resync", "--repo", "team/app")
        at_slave("replication", "resync")
        pushes.push_image("team/app", content.small_image(3), "v3")
        wait_until_same(master.url, slave.url)
        slave.wait_for_log(lambda entry: entry.get("event") == "a snapshot was taken")
    assert "is no slave" in at_master.refused("replication", "pause")
