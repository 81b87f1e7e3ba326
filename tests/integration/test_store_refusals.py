"""An object store that refuses us half way: commands wait or stop, and call no blob damaged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.faults.test_store_faults import once
from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.moving import command, shoal, told
from tests.harness.process import clean_environment
from tests.harness.s3 import S3Server
from tests.harness.server import ROOT
from tests.harness.store_proxy import Fault, StoreProxy
from tests.integration.test_storage_move import Places, refused, told_move, wait_until

FORBIDDEN = Fault(status=403, code="AccessDenied")
IMAGE = content.small_image(1)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[StoreProxy]:
    with StoreProxy(s3_server.endpoint) as found:
        yield found


@pytest.fixture
def places(s3_server: S3Server, proxy: StoreProxy, tmp_path: Path) -> Places:
    return Places(tmp_path, s3_server, endpoint=proxy.url)


def test_a_move_waits_and_goes_on(places: Places, proxy: StoreProxy, start_shoal: StartShoal) -> None:
    server = start_shoal(settings=places.files)
    with RegistryClient(server.url) as client:
        client.push_image("app", IMAGE, "v1")
    proxy.choose = lambda method, url: FORBIDDEN if method == "PUT" and "/blobs/" in url.path else None
    now, then = places.written(places.files), places.written(places.objects)
    words = command("storage", "move", "--config", now, "--data", server.data, "--to", then, "--json")
    following = subprocess.Popen(words, cwd=ROOT, env=clean_environment(None), stdout=subprocess.PIPE, text=True)
    wait_until(lambda: "403 AccessDenied" in told_move(server.data))
    proxy.choose = lambda _method, _url: None
    said, _ = following.communicate(timeout=60)
    assert (following.returncode, json.loads(said)["problems"]) == (0, {})


def test_a_move_to_where_nothing_can_be_written_does_not_begin(
    places: Places, proxy: StoreProxy, start_shoal: StartShoal
) -> None:
    server = start_shoal(settings=places.files)
    words = ("--config", places.written(places.files), "--data", server.data, "--to", places.written(places.objects))
    for forbidden in ("PUT", "DELETE"):
        proxy.choose = lambda method, _url: FORBIDDEN if method == forbidden else None  # noqa: B023 - used at once
        assert "nothing can be written: the object store refused" in refused(*words)
    proxy.choose = lambda _method, _url: None
    assert told("storage", "move", *words)["problems"] == {}
    left = places.keys()
    checks = [key for key in left if key.startswith("checks/")]
    assert len(checks) == 1, "the one that could not be removed"


def test_a_backup_stops_and_makes_no_snapshot(
    places: Places, proxy: StoreProxy, start_shoal: StartShoal, tmp_path: Path
) -> None:
    server = start_shoal(settings=places.objects)
    with RegistryClient(server.url) as client:
        client.push_image("app", IMAGE, "v1")
    config = places.written(places.objects)
    words = ("backup", "create", "--to", tmp_path / "kept", "--data", server.data, "--config", config)
    proxy.choose = lambda _method, url: FORBIDDEN if "/blobs/" in url.path else None
    done = shoal(*words, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "403 AccessDenied" in done.stderr
    assert list((tmp_path / "kept" / "snapshots").iterdir()) == []
    proxy.choose = lambda _method, _url: None
    assert told(*words)["problems"] == {}

    server.stop()
    proxy.choose = lambda _method, url: FORBIDDEN if "/blobs/" in url.path else None
    done = shoal("fsck", "--deep", "--data", server.data, "--config", config)
    assert done.returncode == 2
    assert "cannot be checked" in done.stderr
    assert "(403)" in done.stderr


def test_what_a_backup_logs_is_no_part_of_its_report(
    places: Places, proxy: StoreProxy, start_shoal: StartShoal, tmp_path: Path
) -> None:
    server = start_shoal(settings=places.objects)
    with RegistryClient(server.url) as client:
        client.push_image("app", IMAGE, "v1")
    words = ("backup", "create", "--data", server.data, "--config", places.written(places.objects), "--json")
    proxy.choose = once("GetObject", Fault(change=lambda content: content[:-1] + b"x"), 100)
    done = shoal(*words, "--to", tmp_path / "kept")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["problems"]) == 2
    assert "has changed" in done.stderr
