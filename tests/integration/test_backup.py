"""`shoal backup`: what a snapshot holds comes back, whatever happened while it was made or restored."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from registry.cli import main
from tests.conftest import StartShoal
from tests.faults.datadir import blob_file
from tests.faults.steps import Step, Steps
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.moving import Holdings, command, fill, fsck, told
from tests.harness.postgres import PostgresServer
from tests.harness.process import clean_environment
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import ROOT, ShoalServer, to_toml

Json = dict[str, Any]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Holdings]:
    """A data directory with all kinds of things."""
    data = tmp_path_factory.mktemp("filled") / "data"
    with ShoalServer(data) as server, RegistryClient(server.url) as client:
        holdings = fill(client)
        server.stop()
    return data, holdings


@pytest.fixture(scope="module")
def backup(filled: tuple[Path, Holdings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("kept") / "backup"
    told("backup", "create", "--to", target, "--data", filled[0])
    return target


def snapshots(backup: Path) -> list[Json]:
    done = CliRunner().invoke(main, ["backup", "list", "--from", str(backup), "--json"])
    found: list[Json] = json.loads(done.stdout)
    return found


def refused(*words: str | Path) -> str:
    done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exit_code == 2, done.output + repr(done.exception)
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def check(data: Path, holdings: Holdings, **options: Any) -> None:
    with ShoalServer(data, **options) as server, RegistryClient(server.url) as client:
        holdings.check(client)
        client.push_image("after", content.small_image(99), "v1")
        server.stop()


def test_what_is_restored_is_what_was_there(filled: tuple[Path, Holdings], backup: Path, tmp_path: Path) -> None:
    (snapshot,) = snapshots(backup)
    report = told("backup", "restore", "--from", backup, "--data", tmp_path / "new")
    assert report["blobs"] == report["copied"] == snapshot["blobs"]
    assert report["serial"] == snapshot["serial"] + 1
    assert fsck(tmp_path / "new", "--deep", status=0) == []
    check(tmp_path / "new", filled[1])
    assert not (tmp_path / "new" / "restoring").exists()


def test_the_next_snapshot_copies_what_is_new_and_each_can_be_restored(
    filled: tuple[Path, Holdings], tmp_path: Path
) -> None:
    data, target = shutil.copytree(filled[0], tmp_path / "data", symlinks=True), tmp_path / "backup"
    first = told("backup", "create", "--to", target, "--data", data)
    with ShoalServer(data) as server, RegistryClient(server.url) as client:
        client.push_image("new", content.image(content.random_layer(1000, 70)), "v1")
        second = told("backup", "create", "--to", target, "--data", data)
        server.stop()
    assert (second["copied"], second["blobs"]) == (2, first["blobs"] + 2)
    assert told("backup", "verify", "--from", target)["problems"] == {}
    told("backup", "restore", "--from", target, "--snapshot", first["snapshot"], "--data", tmp_path / "old")
    check(tmp_path / "old", filled[1])


class TestBesideTraffic:
    def test_a_snapshot_is_whole(self, start_shoal: StartShoal, tmp_path: Path) -> None:
        """While images come and go, and what nobody needs is collected at once."""
        server = start_shoal(settings={"collect": {"grace": "2s", "interval": "1s"}, "server": {"workers": 2}})
        with traffic(server.url):
            time.sleep(3)  # by now there is something to collect
            for number in range(3):
                report = told("backup", "create", "--to", tmp_path / "backup", "--data", server.data)
                assert report["problems"] == {}
                restored = tmp_path / f"restored{number}"
                told("backup", "restore", "--from", tmp_path / "backup", "--data", restored)
                assert fsck(restored, "--deep", status=0) == []
        assert told("backup", "verify", "--from", tmp_path / "backup")["problems"] == {}


@contextmanager
def traffic(url: str) -> Iterator[None]:
    ended, failed = threading.Event(), []

    def push_and_delete(seed: int) -> None:
        try:
            with RegistryClient(url) as client:
                for number in itertools.count():
                    if ended.is_set():
                        return
                    image = content.image(content.random_layer(50_000, seed * 100_000 + number))
                    client.push_image("coming/going", image, f"t{seed}")
                    if number % 2:
                        client.delete_manifest("coming/going", image.digest)
        except Exception as error:  # told by the test, which would hang else
            failed.append(error)

    threads = [threading.Thread(target=push_and_delete, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failed == []


class TestDamage:
    @pytest.fixture
    def kept(self, backup: Path, tmp_path: Path) -> Path:
        return shutil.copytree(backup, tmp_path / "kept")

    def test_of_a_blob_is_found_and_never_restored(self, kept: Path, tmp_path: Path) -> None:
        some, other = sorted(path for path in (kept / "blobs").rglob("*") if path.is_file())[:2]
        some.write_bytes(b"x" * some.stat().st_size)
        other.unlink()
        problems = told("backup", "verify", "--from", kept, status=1)["problems"]
        assert set(problems) == {f"sha256:{some.name}", f"sha256:{other.name}"}
        assert "in the backup" in refused("backup", "restore", "--from", kept, "--data", tmp_path / "new")
        assert not (tmp_path / "new" / "shoal.db").exists()
        done = CliRunner().invoke(main, ["serve", "--data", str(tmp_path / "new")])
        assert done.exit_code == 2
        assert "is being restored" in done.stderr

    def test_of_a_database_is_found_and_never_restored(self, kept: Path, tmp_path: Path) -> None:
        (file,) = kept.glob("snapshots/*/shoal.db")
        changed = bytearray(file.read_bytes())
        changed[-100] ^= 1
        file.write_bytes(changed)
        assert list(told("backup", "verify", "--from", kept, status=1)["problems"]) == [file.parent.name]
        assert "was changed" in refused("backup", "restore", "--from", kept, "--data", tmp_path / "new")

    def test_of_one_snapshot_keeps_nobody_from_the_others(self, kept: Path, tmp_path: Path) -> None:
        (good,) = (kept / "snapshots").iterdir()
        for number, text in enumerate(["", "[]", '"x"', '{"format": 1}', '{"format": 1, "name": 5}']):
            (bad := kept / "snapshots" / f"0000000{number}").mkdir()
            (bad / "snapshot.json").write_text(text)
        (kept / "snapshots" / "README").write_text("not ours")
        renamed = shutil.copytree(good, kept / "snapshots" / "00000009")
        done = CliRunner().invoke(main, ["backup", "list", "--from", str(kept), "--json"])
        assert [snapshot["name"] for snapshot in json.loads(done.stdout)] == [good.name]
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 6
        assert "give it its name" in refused("backup", "verify", "--from", kept, "--snapshot", renamed.name)
        assert len(told("backup", "verify", "--from", kept, status=1)["problems"]) == 6
        told("backup", "restore", "--from", kept, "--snapshot", good.name, "--data", tmp_path / "new")

    def test_of_the_registry_itself_is_told_and_the_rest_kept(
        self, filled: tuple[Path, Holdings], tmp_path: Path
    ) -> None:
        data = shutil.copytree(filled[0], tmp_path / "data", symlinks=True)
        lost = filled[1].images[0][1].layers[0].digest
        blob_file(data, lost).unlink()
        report = told("backup", "create", "--to", tmp_path / "backup", "--data", data, status=1)
        assert list(report["problems"]) == [lost]
        assert told("backup", "verify", "--from", tmp_path / "backup")["problems"] == {}
        restored = told("backup", "restore", "--from", tmp_path / "backup", "--data", tmp_path / "new", status=1)
        assert list(restored["problems"]) == [lost]
        assert [finding["what"] for finding in fsck(tmp_path / "new", status=1)] == [lost]


KillOnce = Callable[[tuple[str | Path, ...], Path, int], None]


@pytest.fixture
def kill_once(steps_library: Path) -> KillOnce:
    """Runs a command that copies one blob after the other, and kills it when so many have their names."""

    def kill(words: tuple[str | Path, ...], blobs: Path, count: int) -> None:
        Steps(steps_library, blobs.parent, below=blobs.name).kill(command(*words), Step.RENAME, count + 1)
        assert sum(path.is_file() for path in blobs.rglob("*")) == count

    return kill


class TestKilled:
    @pytest.mark.require("gcc")
    def test_while_it_copies_it_goes_on_where_it_was(
        self, filled: tuple[Path, Holdings], kill_once: KillOnce, tmp_path: Path
    ) -> None:
        target = tmp_path / "backup"
        words = ("backup", "create", "--to", target, "--data", filled[0], "--jobs", "1")
        kill_once(words, target / "blobs", 5)
        assert list((target / "snapshots").iterdir()) == []
        assert len(list((target / "incoming").iterdir())) == 1
        report = told(*words)
        assert report["copied"] == report["blobs"] - 5
        assert list((target / "incoming").iterdir()) == []
        assert told("backup", "verify", "--from", target)["problems"] == {}

    @pytest.mark.require("gcc")
    def test_while_it_restores_it_goes_on_where_it_was(
        self, filled: tuple[Path, Holdings], backup: Path, kill_once: KillOnce, tmp_path: Path
    ) -> None:
        data = tmp_path / "new"
        words = ("backup", "restore", "--from", backup, "--data", data, "--jobs", "1")
        kill_once(words, data / "blobs", 5)
        report = told(*words)
        assert report["copied"] == report["blobs"] - 5
        assert fsck(data, "--deep", status=0) == []
        check(data, filled[1])

    @pytest.mark.parametrize("step", ["before_the_name", "after_the_name", "while_the_mark_goes"])
    def test_at_the_end_of_a_restore_it_comes_to_its_end(
        self, filled: tuple[Path, Holdings], backup: Path, tmp_path: Path, step: str
    ) -> None:
        data = tmp_path / "new"
        words = ("backup", "restore", "--from", backup, "--data", data)
        kill_at(step, words)
        assert (data / "restoring").exists()
        report = told(*words)
        assert (report["copied"], report["problems"]) == (0, {})
        check(data, filled[1])

    @pytest.mark.require("gcc", "postgres")
    def test_after_the_database_was_written_it_comes_to_its_end(
        self,
        filled: tuple[Path, Holdings],
        backup: Path,
        postgres_server: PostgresServer,
        kill_once: KillOnce,
        tmp_path: Path,
    ) -> None:
        settings, data = {"database": {"url": postgres_server.new_database()}}, tmp_path / "new"
        config = tmp_path / "shoal.toml"
        config.write_text(to_toml(settings))
        words = ("backup", "restore", "--from", backup, "--data", data, "--config", config)
        kill_at("while_the_mark_goes", words)
        assert told(*words)["copied"] == 0
        assert not (data / "restoring").exists()
        check(data, filled[1], settings=settings)

        other = tmp_path / "other"  # was not written by this restore, which cannot take it for its own
        kill_once(("backup", "restore", "--from", backup, "--data", other, "--jobs", "1"), other / "blobs", 3)
        assert "database already" in refused("backup", "restore", "--from", backup, "--data", other, "--config", config)


_KILLED = """
import os, shutil, signal, sys
from registry.backup import restore
from registry.cli import main
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
place = restore.put_in_place
if sys.argv[1] == "before_the_name": restore.put_in_place = die
if sys.argv[1] == "after_the_name": restore.put_in_place = lambda *words: (place(*words), die())
if sys.argv[1] == "while_the_mark_goes": shutil.rmtree = die
main(sys.argv[2:])
"""


def kill_at(step: str, words: tuple[str | Path, ...]) -> None:
    """Run a command that kills itself at a moment which is too short to be met from outside."""
    process = subprocess.run(
        [sys.executable, "-c", _KILLED, step, *map(str, words)], cwd=ROOT, env=clean_environment(None), check=False
    )
    assert process.returncode == -signal.SIGKILL


@pytest.mark.require("postgres")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_restore_that_lacks_only_its_end_can_be_run_again(
    kind: str,
    filled: tuple[Path, Holdings],
    backup: Path,
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database is in its place, and the mark that keeps nodes away is still there."""
    settings = {} if kind == "sqlite" else {"database": {"url": postgres_server.new_database()}}
    config = tmp_path / "shoal.toml"
    config.write_text(to_toml(settings))
    words = ("backup", "restore", "--from", backup, "--data", tmp_path / "node", "--config", config)

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "broken", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("registry.commands.run_backup.shutil.rmtree", fail)
        assert "run the same command again" in refused(*words)
    assert (tmp_path / "node/restoring").is_dir()
    other = tmp_path / "other.toml"
    other.write_text(to_toml({"database": {"url": postgres_server.new_database()}}))
    upgrade = CliRunner().invoke(main, ["db", "upgrade", "--data", str(tmp_path / "empty"), "--config", str(other)])
    assert upgrade.exit_code == 0, upgrade.output
    assert "already" in refused(*words[:-1], other), "it is not the database that was restored"
    assert told(*words)["snapshot"] == snapshots(backup)[0]["name"]
    check(tmp_path / "node", filled[1], settings=settings)


@pytest.mark.require("postgres")
def test_from_files_to_objects_and_back(
    filled: tuple[Path, Holdings], backup: Path, postgres_server: PostgresServer, s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = s3_server.bucket("restored").bucket
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    settings = {
        "storage": {"kind": "s3", "endpoint": s3_server.endpoint, "bucket": bucket, **keys},
        "database": {"url": postgres_server.new_database()},
    }
    config = tmp_path / "shoal.toml"
    config.write_text(to_toml(settings))
    told("backup", "restore", "--from", backup, "--data", tmp_path / "node", "--config", config)
    assert fsck(tmp_path / "node", "--deep", "--config", str(config), status=0) == []
    assert not any(path.is_file() for path in (tmp_path / "node/blobs").rglob("*"))
    check(tmp_path / "node", filled[1], settings=settings)

    again = tmp_path / "again"
    told("backup", "create", "--to", again, "--data", tmp_path / "node", "--config", config)
    told("backup", "restore", "--from", again, "--data", tmp_path / "files")
    assert fsck(tmp_path / "files", "--deep", status=0) == []
    with ShoalServer(tmp_path / "files") as server, RegistryClient(server.url) as client:
        client.check_image("after", content.small_image(99), "v1")
        for repository, image in filled[1].images:
            client.check_image(repository, image)
        server.stop()
    said = refused("backup", "restore", "--from", again, "--data", tmp_path / "x", "--config", config)
    assert "already" in said
    assert ":(hidden)@" in said


def test_what_cannot_be_done_is_told_in_one_line(
    filled: tuple[Path, Holdings], backup: Path, start_shoal: StartShoal, tmp_path: Path
) -> None:
    server = start_shoal()
    data = server.data
    assert "must not lie" in refused("backup", "create", "--to", data / "backup", "--data", data)
    assert "must not lie" in refused("backup", "create", "--to", data.parent, "--data", data)
    assert "no database" in refused("backup", "create", "--to", tmp_path / "b", "--data", tmp_path / "nothing")
    assert "in use" in refused("backup", "restore", "--from", backup, "--data", data)
    assert "database already" in refused("backup", "restore", "--from", backup, "--data", filled[0])
    assert "no snapshot" in refused("backup", "verify", "--from", backup, "--snapshot", "yesterday")
    for verb in ("list", "verify"):
        assert "is no backup" in refused("backup", verb, "--from", tmp_path)


def test_files_of_somebody_else_are_left_alone(filled: tuple[Path, Holdings], tmp_path: Path) -> None:
    target = tmp_path / "ftp"
    precious = target / "incoming" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("not a backup")
    assert "is no backup" in refused("backup", "create", "--to", target, "--data", filled[0])
    other = shutil.copytree(filled[0], tmp_path / "data", symlinks=True)
    assert "is no backup" in refused("backup", "create", "--to", filled[0], "--data", other)
    assert list(target.iterdir()) == [precious.parent]
    assert precious.exists()


def test_two_restores_into_one_bucket_share_nothing(
    filled: tuple[Path, Holdings], backup: Path, s3_server: S3Server, tmp_path: Path
) -> None:
    """Each registry removes the objects that it does not need, and must not take those of the other."""
    bucket = s3_server.bucket("restored-twice").bucket
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    config = tmp_path / "shoal.toml"
    config.write_text(to_toml({"storage": {"kind": "s3", "endpoint": s3_server.endpoint, "bucket": bucket, **keys}}))
    locations = set()
    for name in ("a", "b"):
        report = told("backup", "restore", "--from", backup, "--data", tmp_path / name, "--config", config)
        assert report["copied"] == report["blobs"]
        with closing(sqlite3.connect(tmp_path / name / "shoal.db")) as database:
            locations |= {row[0] for row in database.execute("SELECT location FROM blobs")}
    assert len(locations) == 2 * report["blobs"]


def test_a_full_disk_of_the_backup_is_told(filled: tuple[Path, Holdings], tmp_path: Path) -> None:
    words = ["backup", "create", "--to", str(tmp_path / "backup"), "--data", str(filled[0])]
    limit = "ulimit -f 1000; trap '' XFSZ; exec " + " ".join(command(*words))
    done = subprocess.run(
        ["bash", "-c", limit], cwd=ROOT, env=clean_environment(None), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "run the same command again" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert told(*words)["problems"] == {}
    assert json.loads((next((tmp_path / "backup/snapshots").iterdir()) / "snapshot.json").read_text())["format"] == 1
