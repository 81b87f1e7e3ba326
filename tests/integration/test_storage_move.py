"""`shoal storage move`: all blobs go from files into a bucket and back, and nobody who pushes or pulls notices."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from registry.cli import main
from tests.conftest import StartShoal
from tests.faults.datadir import blob_file
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.content import Image
from tests.harness.moving import Holdings, command, fill, fsck, told
from tests.harness.postgres import PostgresServer
from tests.harness.process import clean_environment
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import ROOT, Settings, ShoalServer, to_toml

COLLECT = {"interval": "1s", "grace": "60s", "leftovers": "1s"}


class Places:
    """Settings of one registry: its blobs in files, in files with a bucket beside, in the bucket."""

    def __init__(self, folder: Path, s3_server: S3Server, endpoint: str = "", **others: Any) -> None:
        self._folder = folder
        self.bucket = s3_server.bucket(f"move-{uuid.uuid4()}").bucket
        self.store = s3_server
        self._others = {"collect": COLLECT, **others}
        self._bucket = {
            "endpoint": endpoint or s3_server.endpoint,
            "bucket": self.bucket,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
        }

    @property
    def files(self) -> Settings:
        return {**self._others, "storage": {"kind": "files"}}

    @property
    def objects(self) -> Settings:
        return {**self._others, "storage": {"kind": "s3", **self._bucket}}

    @property
    def files_again(self) -> Settings:
        return {**self._others, "storage": {"kind": "files", **self._bucket}}

    def written(self, settings: Settings) -> Path:
        path = self._folder / f"{uuid.uuid4().hex}.toml"
        path.write_text(to_toml(settings))
        return path

    def keys(self) -> list[str]:
        found = self.store.boto().list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [entry["Key"] for entry in found]


@pytest.fixture
def places(s3_server: S3Server, tmp_path: Path) -> Places:
    return Places(tmp_path, s3_server)


def move(server: ShoalServer, now: Settings, then: Settings, places: Places, status: int = 0) -> dict[str, Any]:
    words = ("storage", "move", "--config", places.written(now), "--data", server.data, "--to", places.written(then))
    return told(*words, status=status)


def refused(*words: str | Path) -> str:
    done = CliRunner().invoke(main, ["storage", "move", *map(str, words)])
    assert done.exit_code == 2, done.output + repr(done.exception)
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def files_of(data: Path) -> list[Path]:
    return [path for path in (data / "blobs").rglob("*") if path.is_file()]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_there_are(objects: int, places: Places) -> None:
    wait_until(lambda: len(places.keys()) >= objects)


@contextmanager
def traffic(url: str) -> Iterator[list[Image]]:
    """Images that are pushed and pulled all the time; what was pushed. Nothing may fail."""
    ended, pushed, failed = threading.Event(), list[Image](), list[Exception]()

    def push() -> None:
        with RegistryClient(url) as client:
            for number in itertools.count():
                image = content.image(content.random_layer(300_000 if number % 5 else 9_000_000, 5000 + number))
                client.push_image("busy", image, f"t{number}")
                pushed.append(image)
                if ended.is_set():
                    return

    def pull() -> None:
        with RegistryClient(url) as client:
            while not ended.is_set():
                for image in list(pushed):
                    client.check_image("busy", image)

    def guarded(work: Any) -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (push, pull)]
    for thread in threads:
        thread.start()
    try:
        yield pushed
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failed == []


def check(server: ShoalServer, holdings: Holdings, pushed: list[Image]) -> None:
    with RegistryClient(server.url) as client:
        for repository, image in holdings.images:
            client.check_image(repository, image)
        for image in pushed:
            client.check_image("busy", image)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_into_a_bucket_and_back_under_traffic(workers: int, places: Places, start_shoal: StartShoal) -> None:
    server = start_shoal(settings=places.files, workers=workers)
    with RegistryClient(server.url) as client:
        holdings = fill(client)
        begun = requests.post(f"{server.url}/v2/late/blobs/uploads/", timeout=30).headers["Location"]
        answer = requests.patch(server.url + begun, data=b"first ", timeout=30)

    with traffic(server.url) as pushed:
        time.sleep(0.5)
        report = move(server, places.files, places.objects, places)
        assert report["problems"] == {}
        assert report["blobs"] >= 15
    check(server, holdings, pushed)
    late = content.Blob(b"first second")
    ended = requests.put(
        server.url + answer.headers["Location"], params={"digest": late.digest}, data=b"second", timeout=30
    )
    assert ended.status_code == 201
    assert move(server, places.files, places.objects, places)["blobs"] == 1
    wait_until(lambda: not files_of(server.data))

    with traffic(server.url) as pushed_later:
        time.sleep(0.5)
        assert move(server, places.objects, places.files_again, places)["problems"] == {}
    check(server, holdings, pushed + pushed_later)
    assert requests.get(f"{server.url}/v2/late/blobs/{late.digest}", timeout=30).content == late.content
    wait_until(lambda: not places.keys())
    server.stop()
    config = places.written(places.files_again)
    assert fsck(server.data, "--deep", "--config", str(config), status=0) == []


def test_a_node_that_is_killed_goes_on_when_it_is_back(places: Places, start_shoal: StartShoal) -> None:
    server = start_shoal(settings=places.files)
    with RegistryClient(server.url) as client:
        holdings = fill(client)
        for number in range(150):
            holdings.image(client, "many", content.small_image(1000 + number), f"t{number}")
    now, then = places.written(places.files), places.written(places.objects)
    words = ("storage", "move", "--config", now, "--data", server.data, "--to", then)
    moving = subprocess.Popen(command(*words), cwd=ROOT, env=clean_environment(None), stdout=subprocess.DEVNULL)
    for moved in (20, 60):
        wait_until_there_are(moved, places)
        server.kill()
        assert len(files_of(server.data)) > 100
        server.restart()
    assert moving.wait(timeout=60) == 0
    assert told(*words)["problems"] == {}
    wait_until(lambda: not files_of(server.data))
    check(server, holdings, [])
    stop_and_find_clean(server, places)


def stop_and_find_clean(server: ShoalServer, places: Places) -> None:
    """No object is there that no row names, but those that are known to be left over."""
    server.stop()
    config = places.written(places.objects)
    assert fsck(server.data, "--deep", "--config", str(config), status=0) == []


def test_what_a_killed_node_had_staged_goes(start_shoal: StartShoal) -> None:
    server = start_shoal(settings={"uploads": {"expire_after": "1s"}, "collect": COLLECT})
    staged = server.data / "uploads" / f"{uuid.uuid4().hex}.part"
    staged.write_bytes(b"half of a blob")
    os.utime(staged, (0, 0))
    wait_until(lambda: not staged.exists())


def test_damaged_blobs_stay_and_are_told(places: Places, start_shoal: StartShoal) -> None:
    server = start_shoal(settings=places.files)
    image = content.image(content.random_layer(1000, 1))
    with RegistryClient(server.url) as client:
        client.push_image("app", image, "v1")
    file = blob_file(server.data, image.layers[0].digest)
    file.write_bytes(b"x" * file.stat().st_size)
    report = move(server, places.files, places.objects, places, status=1)
    assert list(report["problems"]) == [image.layers[0].digest]
    assert file.exists()
    file.unlink()
    with RegistryClient(server.url) as client:
        client.push_image("app", image, "v1")
        client.check_image("app", image)
    assert move(server, places.files, places.objects, places)["problems"] == {}


def test_what_cannot_be_is_refused_and_nothing_moves(places: Places, start_shoal: StartShoal, tmp_path: Path) -> None:
    server = start_shoal(settings=places.files)
    image = content.small_image(1)
    with RegistryClient(server.url) as client:
        client.push_image("app", image, "v1")
    now = ("--config", places.written(places.files), "--data", server.data)
    missing: Settings = {**places.objects, "storage": {**places.objects["storage"], "bucket": "not-there"}}  # type: ignore[dict-item]
    assert "does not exist" in refused(*now, "--to", places.written(missing))
    assert "name the bucket" in refused(*now, "--to", places.written(places.files))
    assert "cannot be read" in refused(*now, "--to", tmp_path / "nowhere.toml")
    other = {**places.objects, "database": {"url": "postgresql://other@127.0.0.1/other"}}
    assert "another database" in refused(*now, "--to", places.written(other))
    assert "no server runs" in refused("--data", tmp_path / "idle", "--to", places.written(places.objects))
    assert places.keys() == []
    with RegistryClient(server.url) as client:
        client.check_image("app", image)
        client.push_image("app", content.small_image(2), "v2")
    assert places.keys() == []


@pytest.mark.slow
@pytest.mark.require("postgres")
def test_nodes_that_share_a_database_take_part(
    s3_server: S3Server, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    places = Places(tmp_path, s3_server, database={"url": postgres_server.new_database()})
    nodes = [ShoalServer(tmp_path / name, settings=places.files) for name in ("a", "b")]
    with nodes[0], nodes[1]:
        with RegistryClient(nodes[0].url) as client:
            holdings = fill(client)
        assert move(nodes[0], places.files, places.objects, places)["problems"] == {}
        for node in nodes:
            check(node, holdings, [])
        with RegistryClient(nodes[1].url) as client:
            client.push_image("busy", content.small_image(5), "v1")
        check(nodes[0], holdings, [content.small_image(5)])
        assert files_of(nodes[1].data) == []


@pytest.mark.require("postgres")
def test_nodes_that_share_a_database_do_not_move_to_files_of_one(
    s3_server: S3Server, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    places = Places(tmp_path, s3_server, database={"url": postgres_server.new_database()})
    nodes = [ShoalServer(tmp_path / name, settings=places.objects) for name in ("a", "b")]
    with nodes[0], nodes[1]:
        with RegistryClient(nodes[0].url) as client:
            holdings = fill(client)
        words = ("--config", places.written(places.objects), "--data", nodes[0].data)
        assert "stop it for good" in refused(*words, "--to", places.written(places.files_again))
        for node in nodes:
            check(node, holdings, [])
            assert files_of(node.data) == []
        with RegistryClient(nodes[1].url) as client:
            client.push_image("busy", content.small_image(5), "v1")
        check(nodes[0], holdings, [content.small_image(5)])
        nodes[1].stop()
        assert move(nodes[0], places.objects, places.files_again, places)["problems"] == {}
        check(nodes[0], holdings, [content.small_image(5)])


@pytest.mark.slow
def test_a_node_goes_on_when_its_data_are_mounted_elsewhere(
    places: Places, start_shoal: StartShoal, tmp_path: Path
) -> None:
    server = start_shoal(settings=places.files)
    with RegistryClient(server.url) as client:
        holdings = fill(client)
    moving = places.written(places.objects)
    now = places.written(places.files)
    words = ("storage", "move", "--config", now, "--to", moving, "--data")
    following = subprocess.Popen(command(*words, server.data), cwd=ROOT, env=clean_environment(None))
    wait_until(lambda: bool(told_move(server.data)))
    server.kill()
    following.kill()
    following.wait()
    elsewhere = tmp_path / "mounted" / "elsewhere"
    elsewhere.parent.mkdir()
    server.data.rename(elsewhere)
    with ShoalServer(elsewhere, settings=places.files) as again:
        wait_until(lambda: '"state": "done"' in told_move(elsewhere))
        assert told(*words, elsewhere)["problems"] == {}
        check(again, holdings, [])


def told_move(data: Path) -> str:
    """What the database says of the move."""
    with closing(sqlite3.connect(data / "shoal.db")) as database:
        row = database.execute("SELECT value FROM properties WHERE name = 'storage move'").fetchone()
    return row[0] if row else ""


def test_settings_of_before_the_move_are_refused(places: Places, start_shoal: StartShoal, tmp_path: Path) -> None:
    server = start_shoal(settings=places.files)
    with RegistryClient(server.url) as client:
        client.push_image("app", content.small_image(1), "v1")
    move(server, places.files, places.objects, places)
    server.stop()
    old = ("--data", str(server.data), "--config", str(places.written(places.files)))
    for words in (["serve"], ["fsck", "--repair"], ["backup", "create", "--to", str(tmp_path / "backup")]):
        done = CliRunner().invoke(main, [*words, *old])
        assert done.exit_code == 2
        assert "names none" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_snapshot_that_was_taken_meanwhile_is_served_anywhere(
    places: Places, start_shoal: StartShoal, tmp_path: Path
) -> None:
    """The file that the move names is not there where the snapshot is restored."""
    server = start_shoal(settings=places.files)
    with RegistryClient(server.url) as client:
        client.push_image("app", content.small_image(1), "v1")
    target = places.written(places.objects)
    words = ("storage", "move", "--config", places.written(places.files), "--to", target, "--data", server.data)
    moving = subprocess.Popen(command(*words), cwd=ROOT, env=clean_environment(None))
    wait_until(lambda: bool(told_move(server.data)))
    told("backup", "create", "--to", tmp_path / "backup", "--data", server.data)
    assert moving.wait() == 0
    server.stop()
    target.unlink()
    told("backup", "restore", "--from", tmp_path / "backup", "--data", tmp_path / "new")
    with ShoalServer(tmp_path / "new") as restored, RegistryClient(restored.url) as client:
        client.check_image("app", content.small_image(1), "v1")


def test_what_a_move_waits_for_is_told_and_it_goes_on(places: Places, start_shoal: StartShoal) -> None:
    server = start_shoal(settings=places.objects)
    with RegistryClient(server.url) as client:
        holdings = fill(client)
    then = places.files_again
    file = places.written({**then, "storage": {**then["storage"], "reserve": "900TB"}})  # type: ignore[dict-item]
    words = ("storage", "move", "--config", places.written(places.objects), "--data", server.data, "--to", file)
    following = subprocess.Popen(
        command(*words, "--json"), cwd=ROOT, env=clean_environment(None), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: "disk is full" in told_move(server.data))
    file.write_text(to_toml(then))
    server.restart()
    said, complaint = following.communicate(timeout=60)
    assert json.loads(said)["problems"] == {}
    assert complaint.splitlines() == [
        "shoal: the move waits: the registry's disk is full: free some space or remove images, then push again"
    ]
    assert '"why": ""' in told_move(server.data)
    check(server, holdings, [])
