"""A slave beside its master: what it shows, when, and what becomes of that when something goes wrong."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from registry.storage.files import DataDirectory
from registry.storage.uploads_fs import FileUploads
from registry.wiring import boot_of_machine
from tests.conftest import StartShoal
from tests.harness import content
from tests.harness.administration import Commands
from tests.harness.client import RegistryClient, error_code
from tests.harness.content import Image
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.everything import PullsEverything, tags_of, wait_until_same
from tests.harness.process import wait_until
from tests.harness.server import ServerError, ShoalServer
from tests.integration.conftest import Slave


@pytest.fixture
def master(start_shoal: StartShoal) -> ShoalServer:
    return start_shoal()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_there_and_what_comes(start_shoal: StartShoal, start_slave: Slave, workers: int) -> None:
    master = start_shoal(workers=workers)
    before, after = content.small_image(1), content.small_image(2)
    both = content.index(content.small_image(3), content.small_image(4, architecture="arm64"))
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", before, "v1")
        pushes.push_index("team/list", both, "v1")
        signature = content.artifact(subject=before.manifest)
        pushes.push_image("team/app", signature)
        slave = start_slave(master.url, workers=workers)
        wait_until_same(master.url, slave.url)
        pushes.push_image("team/app", after, "v2")
        pushes.push_image("team/app", after, "v1")
        pushes.push_image("other/app", before, "v1")
        wait_until_same(master.url, slave.url)
        with RegistryClient(slave.url) as pulls:
            pulls.check_image("team/app", before)
            pulls.check_image("team/app", after, "v1")
            pulls.check_image("other/app", before, "v1")
            assert [entry["digest"] for entry in pulls.referrers("team/app", before.digest)] == [signature.digest]
            pushes.delete_manifest("team/app", after.digest)
            pushes.delete_manifest("team/list", both.digest)
            wait_until_same(master.url, slave.url)
            assert pulls.request("GET", f"/v2/team/app/manifests/{after.digest}").status_code == 404
    assert slave.complaints() == []
    assert master.complaints() == []


def test_nothing_is_taken(master: ShoalServer, start_slave: Slave) -> None:
    slave = start_slave(master.url)
    image = content.small_image(1)
    with RegistryClient(slave.url) as client:
        for method, path in (
            ("POST", "/v2/team/app/blobs/uploads/"),
            ("PUT", "/v2/team/app/manifests/v1"),
            ("DELETE", f"/v2/team/app/manifests/{image.digest}"),
            ("DELETE", f"/v2/team/app/blobs/{image.layers[0].digest}"),
        ):
            answer = client.request(method, path, want=405)
            assert (error_code(answer), answer.headers["Allow"]) == ("DENIED", "GET, HEAD")
            assert f"push to {master.url} instead" in answer.text
    told = Commands("--data", slave.data).refused("group", "add", "devs", "alice")
    assert f"push to {master.url} instead" in told


def test_a_large_image_holds_back_its_own_repository_alone(master: ShoalServer, start_slave: Slave) -> None:
    small, large = content.small_image(1), content.image(content.random_layer(8_000_000, 2))
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        slave = start_slave(proxy.url)
        proxy.stall("down", after=4_000_000)
        pushes.push_image("large/app", large, "v1")
        pushes.push_image("small/app", small, "v1")
        wait_until(lambda: "small/app:v1" in tags_of(slave.url), "the slave has it")
        assert "large/app:v1" not in tags_of(slave.url)
        proxy.heal()
        wait_until_same(master.url, slave.url)


def test_a_blob_that_breaks_off_is_gone_on_with(master: ShoalServer, start_slave: Slave) -> None:
    image = content.image(content.random_layer(6_000_000, 2))
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        slave = start_slave(proxy.url)
        with PullsEverything(slave.url) as everything:
            proxy.cut("down", after=2_000_000, times=2)
            pushes.push_image("team/app", image, "v1")
            wait_until_same(master.url, slave.url)
        assert everything.violations == []
        assert proxy.count.struck == 2
        assert proxy.count.down < 8_000_000, "it did not begin anew"


@pytest.mark.parametrize(
    ("kills", "seed"), [(6, 1), pytest.param(120, 2, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
@pytest.mark.parametrize("victim", ["slave", "master"])
def test_killed_at_any_moment(start_shoal: StartShoal, start_slave: Slave, victim: str, kills: int, seed: int) -> None:
    """While images are pushed, moved and deleted; whoever pulls from the slave never sees less than a whole image."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    master = start_shoal()
    slave = start_slave(master.url)
    killed = slave if victim == "slave" else master
    with pushing(master, seed), PullsEverything(slave.url) as everything:
        for _ in range(kills):
            time.sleep(dice.uniform(0.05, 1.0))
            killed.kill()
            killed.start()
        time.sleep(0.5)
    wait_until_same(master.url, slave.url, 60)
    assert everything.violations == []
    assert everything.pulls > kills
    assert slave.complaints() == []


@pytest.mark.parametrize("victim", ["slave", "master"])
def test_killed_in_the_middle_of_a_snapshot(start_shoal: StartShoal, start_slave: Slave, victim: str) -> None:
    master = start_shoal()
    with RegistryClient(master.url) as pushes:
        for number in range(40):
            pushes.push_image(f"team/app{number:02}", content.small_image(number), "v1")
    with CuttingProxy(master.port) as proxy:
        proxy.cut("down", after=9_000, times=3)
        slave = start_slave(proxy.url)
        killed = slave if victim == "slave" else master
        with PullsEverything(slave.url) as everything:
            killed.kill()
            killed.start()
            wait_until_same(master.url, slave.url)
        assert everything.violations == []


def test_killed_when_all_of_a_blob_had_come(master: ShoalServer, start_slave: Slave) -> None:
    """What is left to do then is to look at it: there is nothing to ask for."""
    image = content.small_image(1)
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        slave = start_slave(proxy.url)
        pushes.push_image("team/app", content.small_image(2), "v1")
        wait_until_same(master.url, slave.url)
        slave.stop()
        with sqlite3.connect(slave.data / "shoal.db") as database:
            state = stage(slave, image.layers[0].content)
            database.execute("INSERT INTO transfers VALUES (?, ?, ?)", (image.layers[0].digest, "team/app", state))
        pushes.push_image("team/app", image, "v2")
        slave.start()
        wait_until_same(master.url, slave.url)


def test_a_slave_becomes_a_registry_of_its_own(master: ShoalServer, start_slave: Slave) -> None:
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
    slave = start_slave(master.url)
    wait_until_same(master.url, slave.url)
    before = tags_of(slave.url)
    slave.stop()
    refused = Commands("--data", slave.data).refused("user", "add", "alice", "--password-stdin", text="a long secret\n")
    assert "this is a slave's data: give the command at its master" in refused
    with pytest.raises(ServerError, match="shoal replication detach"):
        ShoalServer(slave.data, ready_timeout=10).start()
    assert "is a registry of its own now" in Commands("--data", slave.data)("replication", "detach")
    assert "is no copy of another registry" in Commands("--data", slave.data).refused("replication", "detach")
    with ShoalServer(slave.data) as own, RegistryClient(own.url) as client:
        assert tags_of(own.url) == before
        client.push_image("team/app", content.small_image(2), "v2")
        client.check_image("team/app", content.small_image(1), "v1")
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(3), "v3")
    before["team/app:v2"] = content.small_image(2).digest
    slave.start()  # its log is another one by now: what was pushed to it is not thrown away
    slave.wait_for_log(lambda entry: entry.get("state") == "forked")
    assert tags_of(slave.url) == before


def stage(slave: ShoalServer, layer: bytes) -> str:
    """An upload in the data of a slave that is stopped, with all these bytes; returns its id."""

    async def staged() -> str:
        with ThreadPoolExecutor(2) as executor:
            uploads = FileUploads(DataDirectory(slave.data, 0), executor, boot_of_machine())
            state = await uploads.begin("team/app", "sha256")
            async with uploads.open("team/app", state.id) as upload:
                await upload.write([layer])
                await upload.checkpoint()
        return state.id

    return asyncio.run(staged())


def test_a_blob_that_is_damaged_above(master: ShoalServer, start_slave: Slave) -> None:
    damaged, good = content.small_image(1), content.small_image(2)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("damaged/app", damaged, "v1")
        pushes.push_image("good/app", good, "v1")
        layer = damaged.layers[0]
        file = master.data / "blobs" / "sha256" / layer.digest[7:9] / layer.digest[7:]
        file.write_bytes(b"x" * layer.size)
        slave = start_slave(master.url)
        wait_until(lambda: "good/app:v1" in tags_of(slave.url), "the slave has it")
        slave.wait_for_log(lambda entry: "the bytes that came have the digest" in str(entry.get("error")))
        assert "damaged/app:v1" not in tags_of(slave.url)
        file.write_bytes(layer.content)
        wait_until_same(master.url, slave.url)


def test_a_master_that_was_restored_from_a_backup(start_shoal: StartShoal, start_slave: Slave, tmp_path: Path) -> None:
    master = start_shoal()
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
        master.stop()
        shutil.copytree(master.data, tmp_path / "backup")
        master.start()
        slave = start_slave(master.url)
        pushes.push_image("team/app", content.small_image(2), "v2")
        wait_until_same(master.url, slave.url)
        kept = tags_of(slave.url)
        master.stop()
        shutil.rmtree(master.data)
        shutil.copytree(tmp_path / "backup", master.data)
        master.start()
        pushes.push_image("team/app", content.small_image(3), "v3")
        pushes.push_image("team/app", content.small_image(4), "v4")
    slave.wait_for_log(lambda entry: entry.get("state") == "forked")
    assert tags_of(slave.url) == kept


def test_a_slave_of_a_slave(master: ShoalServer, start_slave: Slave) -> None:
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
        middle = start_slave(master.url)
        below = start_slave(middle.url)
        with PullsEverything(below.url) as everything:
            wait_until_same(master.url, below.url)
            for number in range(2, 8):
                pushes.push_image("team/app", content.small_image(number), f"v{number % 3}")
                if number == 4:
                    middle.kill()
                    middle.start()
            pushes.delete_manifest("team/app", content.small_image(1).digest)
            wait_until_same(master.url, below.url)
        assert everything.violations == []


def test_a_slave_of_a_slave_that_is_itself_behind(master: ShoalServer, start_slave: Slave) -> None:
    large = content.image(content.random_layer(8_000_000, 2))
    with CuttingProxy(master.port) as proxy, RegistryClient(master.url) as pushes:
        middle = start_slave(proxy.url)
        pushes.push_image("team/app", content.small_image(1), "v1")
        wait_until_same(master.url, middle.url)
        proxy.stall("down", after=4_000_000)
        pushes.push_image("team/app", large, "v1")
        pushes.push_image("other/app", content.small_image(3), "v1")
        wait_until(lambda: "other/app:v1" in tags_of(middle.url), "the slave has it")
        with PullsEverything((below := start_slave(middle.url)).url) as everything:
            wait_until(lambda: "other/app:v1" in tags_of(below.url), "the slave has it")
            proxy.heal()
            wait_until_same(master.url, below.url, 60)
        assert everything.violations == []


def test_accounts_are_those_of_the_master(start_shoal: StartShoal, start_slave: Slave, tmp_path: Path) -> None:
    master = start_shoal()
    shoal = Commands("--data", master.data)
    with RegistryClient(master.url) as pushes:
        pushes.push_image("team/app", content.small_image(1), "v1")
    token = tmp_path / "token"
    token.write_text(shoal("replication", "token", "create", "berlin"))
    slave = start_slave(master.url, args=["--token-file", str(token)])
    wait_until_same(master.url, slave.url)
    shoal("user", "add", "alice", "--admin", "--password-stdin", text="correct horse battery\n")
    shoal("user", "add", "bob", "--password-stdin", text="another horse battery\n")
    bob, url = ("bob", "another horse battery"), f"{slave.url}/v2/team/app/manifests/v1"

    def status(**shown: Any) -> int:
        return requests.get(url, headers={"Accept": "*/*", **shown.pop("headers", {})}, timeout=30, **shown).status_code

    wait_until(lambda: status() == 401, "the slave has it")
    at_slave = Commands("--data", slave.data)
    wait_until(lambda: "bob" in {user["name"] for user in at_slave.json("user", "list")}, "the slave knows bob")
    assert status(auth=bob) == 403
    shoal("grant", "set", "bob", "team/**", "pull")
    wait_until(lambda: status(auth=bob) == 200, "the slave has it")
    scope = {"scope": "repository:team/app:pull"}
    for issuer in (master, slave):
        bearer = requests.get(f"{issuer.url}/auth/token", params=scope, auth=bob, timeout=30).json()["token"]
        assert status(headers={"Authorization": f"Bearer {bearer}"}) == 200
    shoal("replication", "token", "delete", "berlin")
    slave.wait_for_log(lambda entry: entry.get("state") == "refused")
    shoal("grant", "delete", "bob", "team/**")
    assert status(auth=bob) == 200, "it is not told any more"
    master.stop()
    assert status(auth=bob) == 200


@contextmanager
def pushing(master: ShoalServer, seed: int) -> Iterator[None]:
    """Somebody who pushes, moves tags and deletes all the time, also while the master is away."""
    ended = threading.Event()
    dice = random.Random(seed)  # noqa: S311 - no secret
    images: list[Image] = [content.small_image(number) for number in range(30)]

    def change(client: RegistryClient) -> None:
        repository, image = f"team/app{dice.randrange(3)}", dice.choice(images)
        if dice.random() < 0.75:
            client.push_image(repository, image, f"v{dice.randrange(4)}")
        elif (digest := client.resolve(repository, f"v{dice.randrange(4)}")) is not None:
            client.delete_manifest(repository, digest)

    def run() -> None:
        with RegistryClient(master.url) as client:
            while not ended.is_set():
                try:
                    change(client)
                except (requests.RequestException, AssertionError):  # it was killed
                    time.sleep(0.02)

    thread = threading.Thread(target=run, name="pushes")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)
