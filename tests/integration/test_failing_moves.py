"""A move of the storage that does not come to its end: a store that fails, a node that has gone, clocks that differ."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from registry.commands import run_move
from registry.domain.move import StorageMove
from registry.storage.metadata.databases import Database
from tests.conftest import StartShoal
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.moving import told
from tests.harness.s3 import S3Server
from tests.harness.server import ShoalServer
from tests.integration.test_storage_move import (
    Places,
    files_of,
    move,
    refused,
    told_move,
    wait_until,
    wait_until_there_are,
)


@pytest.fixture
def places(s3_server: S3Server, tmp_path: Path) -> Places:
    return Places(tmp_path, s3_server)


def note_move(server: ShoalServer, **changes: Any) -> None:
    """Say something else of the move in the database."""
    with closing(sqlite3.connect(server.data / "shoal.db", timeout=30)) as database, database:
        said = json.dumps({**json.loads(told_move(server.data)), **changes}, sort_keys=True)
        database.execute("UPDATE properties SET value = ? WHERE name = 'storage move'", (said,))


def test_after_a_move_that_failed_both_stores_are_read_and_new_blobs_go_to_the_old_one(
    places: Places, start_shoal: StartShoal
) -> None:
    server = start_shoal(settings=places.files)
    with RegistryClient(server.url) as client:
        client.push_image("app", content.small_image(1), "v1")
        move(server, places.files, places.objects, places)
        wait_until(lambda: not files_of(server.data))
        moved = places.keys()
        note_move(server, state="failed", why="a broken disk")
        server.wait_for_log(lambda entry: "has failed" in entry["event"])
        client.push_image("app", content.small_image(2), "v2")
        assert (places.keys(), len(files_of(server.data))) == (moved, 2)
        server.restart()
        client.push_image("app", content.small_image(3), "v3")
        assert (places.keys(), len(files_of(server.data))) == (moved, 4)
        for number in (1, 2, 3):
            client.check_image("app", content.small_image(number))
        assert move(server, places.files, places.objects, places)["blobs"] == 4
        assert len(places.keys()) == len(moved) + 4
    assert server.complaints() == []


def test_a_move_that_failed_is_told_in_one_line(places: Places, start_shoal: StartShoal) -> None:
    server = start_shoal(settings=places.files)
    words = ("--config", places.written(places.files), "--data", server.data, "--to", places.written(places.objects))

    def fail() -> None:
        wait_until(lambda: "preparing" in told_move(server.data))
        note_move(server, state="failed", why="a broken disk")

    failing = threading.Thread(target=fail)
    failing.start()
    said = refused(*words)
    failing.join()
    assert "has failed after 0 blobs" in said
    assert "a broken disk; mend that and run this again" in said


@pytest.mark.slow
def test_a_node_that_has_gone_is_told(places: Places, start_shoal: StartShoal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_move, "_STOPPED_FOR", 2.0)
    monkeypatch.setattr(run_move, "_SILENT_FOR", 6.0)
    server = start_shoal(settings=places.files)
    with RegistryClient(server.url) as client:
        for number in range(60):
            client.push_image("many", content.small_image(1000 + number), f"t{number}")
    words = ("--config", places.written(places.files), "--data", server.data, "--to", places.written(places.objects))

    def kill() -> None:
        wait_until_there_are(5, places)
        server.kill()

    killing = threading.Thread(target=kill)
    killing.start()
    assert "has stopped: start it again" in refused(*words)
    killing.join()
    server.restart()
    monkeypatch.setattr(run_move, "_SILENT_FOR", 60.0)
    assert told("storage", "move", *words)["problems"] == {}

    monkeypatch.setattr(run_move, "_SILENT_FOR", 2.0)
    note_move(server, state="moving", node="another", host="far", data="/away", settings=str(words[-1]))
    assert "nothing was heard of the server on /away on far" in refused(*words)


def test_a_clock_that_is_wrong_refuses_no_move(
    places: Places, start_shoal: StartShoal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The move was noted on a host whose clock is behind ours."""
    server = start_shoal(settings=places.files)
    words = ("--config", places.written(places.files), "--data", server.data, "--to", places.written(places.objects))
    begin = run_move._begin

    def long_ago(database: Database, new: StorageMove) -> StorageMove:
        return begin(database, replace(new, since=new.since - 3600))

    monkeypatch.setattr(run_move, "_begin", long_ago)
    assert told("storage", "move", *words)["problems"] == {}
