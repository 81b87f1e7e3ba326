"""`shoal fsck` finds damage of every kind, and says what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.cli import main
from tests.conftest import StartShoal
from tests.faults.datadir import blob_file
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.content import Image, Index
from tests.harness.moving import Json, fsck
from tests.harness.postgres import PostgresServer
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import ShoalServer, to_toml

IMAGE = content.image(content.random_layer(100_000, 1))
LIST = content.index(content.small_image(2), content.small_image(3, architecture="arm64"))


def push(client: RegistryClient, image: Image = IMAGE, index: Index = LIST) -> None:
    client.push_image("team/app", image, "v1")
    client.push_index("team/list", index, "v1")


def seen(findings: list[Json]) -> list[tuple[str, str]]:
    return sorted((finding["kind"], finding["what"]) for finding in findings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which all is well."""
    data = tmp_path_factory.mktemp("whole") / "data"
    with ShoalServer(data) as server, RegistryClient(server.url) as client:
        push(client)
        server.stop()
    return data


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(whole, tmp_path / "data", ignore=shutil.ignore_patterns("metrics"))


def statement(data: Path, text: str, *values: object) -> None:
    with closing(sqlite3.connect(data / "shoal.db")) as connection, connection:
        assert connection.execute(text, values).rowcount > 0


def folder_in_place_of(file: Path) -> None:
    file.unlink()
    file.mkdir()


def test_all_is_well(data: Path) -> None:
    assert fsck(data, "--deep", status=0) == []
    done = CliRunner().invoke(main, ["fsck", "--data", str(data)])
    assert done.exit_code == 0
    assert "All is well" in done.stdout


LAYER, CONFIG = IMAGE.layers[0].digest, IMAGE.config.digest
CHILD = LIST.images[0].digest

DAMAGE: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "a file that is missing": (lambda data: blob_file(data, LAYER).unlink(), [("bytes missing", LAYER)]),
    "a file that is cut": (lambda data: os.truncate(blob_file(data, LAYER), 10), [("wrong size", LAYER)]),
    "a folder in its place": (
        lambda data: folder_in_place_of(blob_file(data, LAYER)),
        [("bytes missing", LAYER)],
    ),
    "a row that is missing": (
        lambda data: statement(data, "DELETE FROM blobs WHERE digest = ?", LAYER),
        [("file without a row", LAYER), ("link to a missing blob", LAYER)],
    ),
    "a link that is missing": (
        lambda data: statement(data, "DELETE FROM blob_links WHERE digest = ?", CONFIG),
        [("part of a manifest missing", IMAGE.digest)],
    ),
    "a manifest that is missing": (
        lambda data: statement(data, "DELETE FROM manifests WHERE digest = ?", CHILD),
        [("part of a manifest missing", LIST.digest)],
    ),
    "a manifest that a tag needs": (
        lambda data: statement(data, "DELETE FROM manifests WHERE digest = ?", IMAGE.digest),
        [("tag of a missing manifest", "v1")],
    ),
    "a manifest that was changed": (
        lambda data: statement(data, "UPDATE manifests SET content = X'78' WHERE digest = ?", IMAGE.digest),
        [("manifest damaged", IMAGE.digest)],
    ),
    "an event that was changed": (
        lambda data: statement(data, "UPDATE journal SET repository = 'other' WHERE serial = 2"),
        [("journal broken", "event 2")],
    ),
    "an event that is missing": (
        lambda data: statement(data, "DELETE FROM journal WHERE serial = 2"),
        [("journal broken", "event 2")],
    ),
    "the last event missing": (
        lambda data: statement(data, "DELETE FROM journal WHERE serial = (SELECT max(serial) FROM journal)"),
        [("journal broken", "head")],
    ),
    "a head with another chain": (
        lambda data: statement(data, "UPDATE head SET chain = zeroblob(32)"),
        [("journal broken", "head")],
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found(kind: str, data: Path) -> None:
    damage, expected = DAMAGE[kind]
    damage(data)
    findings = fsck(data, status=1)
    assert seen(findings) == expected
    of_blobs = [finding for finding in findings if finding["what"] in (LAYER, CONFIG)]
    assert all(finding["repositories"] == ["team/app"] for finding in of_blobs if "row" not in finding["kind"])


def test_other_bytes_are_found_by_reading_them(data: Path) -> None:
    file = blob_file(data, LAYER)
    file.write_bytes(b"x" * file.stat().st_size)
    assert fsck(data, status=0) == []
    assert seen(fsck(data, "--deep", status=1)) == [("bytes damaged", LAYER)]


def test_a_file_that_nothing_needs_is_removed_when_asked(data: Path) -> None:
    stray = content.Blob(b"nobody's")
    blob_file(data, stray.digest).write_bytes(stray.content)
    (blob_file(data, stray.digest).parent / "notes of somebody").write_text("left alone")
    assert seen(fsck(data, status=1)) == [("file without a row", stray.digest)]
    assert blob_file(data, stray.digest).exists()
    repaired = fsck(data, "--repair", status=0)
    assert [finding["repaired"] for finding in repaired] == [True]
    assert not blob_file(data, stray.digest).exists()
    assert (blob_file(data, stray.digest).parent / "notes of somebody").exists()
    assert fsck(data, status=0) == []


def test_repair_unlinks_nothing_and_pushing_again_heals(data: Path) -> None:
    blob_file(data, LAYER).unlink()
    assert seen(fsck(data, "--repair", status=1)) == [("bytes missing", LAYER)]
    with ShoalServer(data) as server, RegistryClient(server.url) as client:
        push(client)
        client.check_image("team/app", IMAGE, "v1")
        server.stop()
    assert fsck(data, "--deep", status=0) == []


def test_what_an_upload_was_about_to_become_is_no_damage(data: Path) -> None:
    stray = content.Blob(b"published, and then the power went")
    blob_file(data, stray.digest).write_bytes(stray.content)
    record = {
        "repository": "team/app", "algorithm": "sha256", "offset": 0, "hash_state": "", "digest": "", "boot": "",
        "publishing": stray.digest,
    }  # fmt: skip
    (data / "uploads/0a1b2c3d-0000-4000-8000-000000000000.state").write_text(json.dumps(record))
    assert fsck(data, status=0) == []


def test_not_beside_a_server_and_not_where_nothing_is(start_shoal: StartShoal, tmp_path: Path) -> None:
    server = start_shoal()
    for place in (server.data, tmp_path / "nowhere", tmp_path):
        done = CliRunner().invoke(main, ["fsck", "--data", str(place)])
        assert done.exit_code == 2
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "nowhere").exists()


def test_objects_in_a_store(s3_server: S3Server, start_shoal: StartShoal, tmp_path: Path) -> None:
    bucket = s3_server.bucket("fsck").bucket
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    settings = {"storage": {"kind": "s3", "endpoint": s3_server.endpoint, "bucket": bucket, **keys}}
    server = start_shoal(settings=settings)
    with RegistryClient(server.url) as client:
        push(client)
    server.stop()
    config = tmp_path / "s3.toml"
    config.write_text(to_toml(settings))
    assert fsck(server.data, "--deep", "--config", str(config), status=0) == []

    with closing(sqlite3.connect(server.data / "shoal.db")) as connection:
        key = dict(connection.execute("SELECT digest, location FROM blobs").fetchall())
    other = LIST.images[0].layers[0]
    s3_server.boto().delete_object(Bucket=bucket, Key=key[CONFIG])
    s3_server.boto().put_object(Bucket=bucket, Key=key[LAYER], Body=b"short")
    s3_server.boto().put_object(Bucket=bucket, Key=key[other.digest], Body=b"x" * other.size)
    shallow = [("bytes missing", CONFIG), ("wrong size", LAYER)]
    assert seen(fsck(server.data, "--config", str(config), status=1)) == shallow
    deep = fsck(server.data, "--deep", "--config", str(config), status=1)
    assert seen(deep) == [("bytes damaged", other.digest), *shallow]


@pytest.mark.require("postgres")
def test_a_database_that_nodes_share(
    postgres_server: PostgresServer, start_shoal: StartShoal, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.new_database()
    server = start_shoal(settings={"database": {"url": url}})
    with RegistryClient(server.url) as client:
        push(client)
    server.stop()
    monkeypatch.setenv("SHOAL_DATABASE__URL", url)
    assert fsck(server.data, "--deep", status=0) == []
    blob_file(server.data, LAYER).unlink()
    assert seen(fsck(server.data, status=1)) == [("bytes missing", LAYER)]
