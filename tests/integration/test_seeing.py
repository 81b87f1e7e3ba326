"""What an administrator sees of slaves, and does to them."""

from __future__ import annotations

import requests

from tests.conftest import StartShoal
from tests.harness import content
from tests.harness.administration import Commands
from tests.harness.client import RegistryClient
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.everything import tags_of, wait_until_same
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer


def slave_of(start_shoal: StartShoal, url: str, **replication: object) -> ShoalServer:
    return start_shoal(settings={"replication": {"role": "slave", "master": url, **replication}})


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


def test_a_slave_tells_at_once(start_shoal: StartShoal) -> None:
    master = start_shoal()
    slave = slave_of(start_shoal, master.url)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(0), "v0")
        wait_until_same(master.url, slave.url)
        took = []
        for number in range(1, 6):
            pushes.push_image("team/app", content.small_image(number), "v1")
            url = f"{master.url}/api/v1/replication/wait/team/app"
            answer = requests.get(url, params={"reference": "v1", "timeout": "10"}, timeout=30)
            assert answer.json()["complete"], answer.text
            took.append(answer.elapsed.total_seconds())
        assert sorted(took)[2] < 0.7
