"""A slave takes the place of its master: what is kept, what is lost, and who hears of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from tests.conftest import StartShoal
from tests.harness import content
from tests.harness.administration import Commands
from tests.harness.client import RegistryClient, error_code
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.everything import PullsEverything, tags_of, wait_until_same
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer
from tests.integration.conftest import Slave


def promote(slave: ShoalServer, *flags: str) -> dict[str, object]:
    done: dict[str, object] = Commands("--data", slave.data).json("replication", "promote", *flags)
    return done


@pytest.fixture
def pair(start_shoal: StartShoal, start_slave: Slave) -> tuple[ShoalServer, ShoalServer]:
    """A master with an image, and a slave that shows it."""
    master = start_shoal()
    slave = start_slave(master.url)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
    wait_until_same(master.url, slave.url)
    return master, slave


def push_status(server: ShoalServer) -> int:
    return requests.post(f"{server.url}/v2/team/app/blobs/uploads/", timeout=30).status_code


@pytest.mark.parametrize("workers", [1, 2])
def test_a_planned_switch_loses_nothing_and_refuses_no_pull(
    start_shoal: StartShoal, start_slave: Slave, workers: int
) -> None:
    master = start_shoal(workers=workers)
    with RegistryClient(master.url) as pushes:
        for number in range(5):
            pushes.push_image("team/app", content.small_image(number), f"v{number}")
    slave = start_slave(master.url, workers=workers)
    other = start_slave(master.url, more={"others": [slave.url]})
    wait_until_same(master.url, slave.url)
    wait_until_same(master.url, other.url)
    with (
        PullsEverything(master.url) as at_master,
        PullsEverything(slave.url) as at_slave,
        PullsEverything(other.url) as far,
    ):
        with RegistryClient(master.url) as pushes:
            pushes.push_image("team/app", content.small_image(7), "last")
        done = promote(slave, "--graceful")
        assert (done["epoch"], done["lost_changes"], done["url"]) == (2, 0, slave.url)
        wait_until(lambda: push_status(master) == 405, "the master has given way")
        with RegistryClient(slave.url) as pushes:
            assert pushes.resolve("team/app", "last") == content.small_image(7).digest
            pushes.push_image("team/app", content.small_image(8), "new")
            pushes.delete_manifest("team/app", content.small_image(0).digest)
        wait_until_same(slave.url, other.url)
    for everything in (at_master, at_slave, far):
        assert everything.violations == []
        assert everything.pulls > 0
    with RegistryClient(master.url) as client:
        answer = client.request("PUT", "/v2/team/app/manifests/v1", want=405)
        assert error_code(answer) == "DENIED"
        assert f"push to {slave.url} instead" in answer.text
    assert slave.complaints() == []
    assert master.complaints() == []


def test_there_and_back_again(pair: tuple[ShoalServer, ShoalServer]) -> None:
    """Who was promoted gives way to the next one, whatever its settings say of its role."""
    first, second = pair
    promote(second, "--graceful")
    wait_until(lambda: push_status(first) == 405, "the first one has given way")
    first.stop()
    back = ShoalServer(first.data, settings={"replication": {"role": "slave", "master": second.url}}, port=first.port)
    with back, RegistryClient(back.url) as pushes:
        wait_until_same(second.url, back.url)
        assert promote(back, "--graceful", "--url", "https://first.example")["epoch"] == 3
        wait_until(lambda: push_status(second) == 405, "the second one has given way")
        told = requests.put(f"{second.url}/v2/team/app/manifests/v1", timeout=30)
        assert "push to https://first.example instead" in told.text
        epoch = requests.get(f"{second.url}/_replication/v1/epoch", timeout=30)
        assert (epoch.status_code, epoch.json()["writes"]) == (200, False)
        pushes.push_image("team/app", content.small_image(2), "v2")
        second.restart()
        wait_until_same(back.url, second.url)


def test_an_address_that_is_none(pair: tuple[ShoalServer, ShoalServer]) -> None:
    master, slave = pair
    told = Commands("--data", slave.data).refused("replication", "promote", "--graceful", "--url", "the new one")
    assert "http(s)://HOST" in told
    assert push_status(master) == 202


def test_who_was_promoted_stays_so_and_who_gave_way_too(pair: tuple[ShoalServer, ShoalServer]) -> None:
    master, slave = pair
    promote(slave, "--graceful")
    wait_until(lambda: push_status(master) == 405, "the master has given way")
    slave.restart()
    master.restart()
    assert (push_status(slave), push_status(master)) == (202, 405)
    assert "no slave" in Commands("--data", slave.data).refused("replication", "promote")


def test_a_master_that_lives_is_not_taken_over_unasked(pair: tuple[ShoalServer, ShoalServer]) -> None:
    master, slave = pair
    told = Commands("--data", slave.data).refused("replication", "promote")
    assert "lives" in told
    assert "--graceful" in told
    assert (push_status(master), push_status(slave)) == (202, 405)
    master.stop()
    assert "away" in Commands("--data", slave.data).refused("replication", "promote", "--graceful")


def test_a_master_that_comes_back_gives_way_and_rejoins(
    start_shoal: StartShoal, start_slave: Slave, tmp_path: Path
) -> None:
    """What it took and nobody had is in a file; it copies nothing that it has."""
    master = start_shoal()
    images = [content.small_image(number) for number in range(4)]
    with CuttingProxy(master.port) as proxy:
        slave = start_slave(proxy.url)
        third = start_slave(master.url, more={"others": [slave.url]})
        with RegistryClient(master.url) as pushes:
            pushes.push_image("team/app", images[0], "v1")
            wait_until_same(master.url, slave.url)
            proxy.refuse()
            pushes.push_image("team/app", images[1], "lost")
            pushes.push_image("other/app", images[1], "lost")
        wait_until_same(master.url, third.url)
        master.kill()
        done = promote(slave)
        assert done["lost_changes"] == 0
        proxy.heal()
        with PullsEverything(third.url) as everything, RegistryClient(slave.url) as pushes:
            pushes.push_image("team/app", images[2], "v2")
            wait_until_same(slave.url, third.url)
            master.start()
            wait_until(lambda: push_status(master) == 405, "the former master has heard of it")
            fork = tmp_path / "fork"
            printed = Commands("--data", master.data)("replication", "export-fork", "--to", str(fork))
            assert "2 events" in printed
            lost = [json.loads(line) for line in fork.read_text().splitlines()]
            assert [(event["repository"], json.loads(event["payload"])["tags"]) for event in lost] == [
                ("team/app", ["lost"]),
                ("other/app", ["lost"]),
            ]
            master.stop()
            again = ShoalServer(
                master.data, settings={"replication": {"role": "slave", "master": slave.url}}, port=master.port
            )
            with again:
                pushes.push_image("team/app", images[3], "v3")
                wait_until_same(slave.url, again.url)
                assert push_status(again) == 405
                assert [file.read_bytes() for file in (again.data / "forks").iterdir()] == [fork.read_bytes()]
        assert everything.violations == []
    assert "team/app:lost" not in tags_of(third.url)


def test_what_was_not_complete_is_told_and_taken_back(start_shoal: StartShoal, start_slave: Slave) -> None:
    """A slave below had it whole, and ends up with what the new master shows."""
    master = start_shoal()
    large, old = content.image(content.random_layer(6_000_000, 2)), content.small_image(1)
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        slave = start_slave(proxy.url)
        third = start_slave(master.url, more={"others": [slave.url]})
        pushes.push_image("team/app", old, "v1")
        pushes.push_image("team/app", content.small_image(2), "doomed")
        wait_until_same(master.url, slave.url)
        proxy.stall("down", after=3_000_000)
        pushes.push_image("team/app", large, "v1")
        pushes.delete_manifest("team/app", content.small_image(2).digest)
        pushes.push_image("other/app", old, "v1")
        wait_until(lambda: "other/app:v1" in tags_of(slave.url), "the slave has it")
        wait_until_same(master.url, third.url)
        master.kill()
        done = promote(slave)
        assert (done["lost_changes"], done["lost_in"]) == (2, ["team/app"])
    assert tags_of(slave.url)["team/app:v1"] == old.digest
    with PullsEverything(third.url) as everything:
        wait_until_same(slave.url, third.url)
        fresh = start_slave(slave.url)
        wait_until_same(slave.url, fresh.url)
    assert everything.violations == []


def test_two_hasty_promotions_are_told_apart(start_shoal: StartShoal, start_slave: Slave) -> None:
    master = start_shoal()
    one, two = start_slave(master.url), start_slave(master.url)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
    wait_until_same(master.url, one.url)
    wait_until_same(master.url, two.url)
    first = promote(one, "--force")
    wait_until(lambda: push_status(master) == 405, "the master has given way")
    second = promote(two, "--force")
    assert first["epoch"] == second["epoch"] == 2
    assert first["id"] != second["id"]
    two.wait_for_log(lambda entry: "does not give way" in str(entry.get("event")))
    below = start_slave(one.url, more={"others": [two.url]})
    with RegistryClient(one.url) as pushes:
        pushes.push_image("team/app", content.small_image(2), "v2")
    wait_until_same(one.url, below.url)
    one.stop()
    below.wait_for_log(lambda entry: entry.get("state") == "forked" and two.host in str(entry.get("error")))
    assert "team/app:v2" in tags_of(below.url), "the log of the other one is another one"


def test_the_right_to_end_a_master(start_shoal: StartShoal, start_slave: Slave, tmp_path: Path) -> None:
    """No token of a slave does; one that may does, and lets the other slaves in at the new master."""
    master = start_shoal()
    shoal = Commands("--data", master.data)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
    tokens = {"plain": (), "heir": ("--may-promote",)}
    for name, flags in tokens.items():
        (tmp_path / name).write_text(shoal("replication", "token", "create", name, *flags))
    plain = start_slave(master.url, args=["--token-file", str(tmp_path / "plain")])
    heir = start_slave(master.url, args=["--token-file", str(tmp_path / "heir")], more={"others": [plain.url]})
    third = start_slave(master.url, args=["--token-file", str(tmp_path / "plain")], more={"others": [heir.url]})
    for slave in (plain, heir, third):
        wait_until_same(master.url, slave.url)
    shoal("user", "add", "alice", "--admin", "--password-stdin", text="correct horse battery\n")
    told = Commands("--data", plain.data).refused("replication", "promote", "--graceful")
    assert "--may-promote" in told
    assert push_status(master) == 401
    promote(heir, "--graceful")
    alice = ("alice", "correct horse battery")
    url = "/v2/team/app/blobs/uploads/"
    assert requests.post(heir.url + url, auth=alice, timeout=30).status_code == 202
    wait_until(lambda: requests.post(master.url + url, auth=alice, timeout=30).status_code == 405, "it gave way")
    Commands("--data", heir.data)("user", "add", "bob", "--password-stdin", text="another horse battery\n")
    at_third = Commands("--data", third.data)
    wait_until(lambda: "bob" in {user["name"] for user in at_third.json("user", "list")}, "the slave knows bob", 30)
