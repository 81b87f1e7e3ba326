"""Nodes that keep their metadata in one Postgres, as processes; and what they say of a database they cannot use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.postgres import PostgresServer
from tests.harness.server import free_port

pytestmark = pytest.mark.require("postgres")


def serve(data: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "registry", "serve", "--data", str(data), "--listen", "127.0.0.1:0"]
    environment = {"SHOAL_DATABASE__URL": url, "PATH": "/usr/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_two_nodes_serve_the_same(start_shoal: StartShoal, postgres_server: PostgresServer) -> None:
    """Blobs are files of one node here; manifests and tags are everybody's."""
    url = postgres_server.new_database()
    one = start_shoal(env={"SHOAL_DATABASE__URL": url})
    other = start_shoal(env={"SHOAL_DATABASE__URL": url}, workers=2)
    with RegistryClient(one.url) as client:
        for seed in range(8):
            item = small_image(seed)
            client.push_image("team/app", item, "latest")
            for node in (one, other):
                answer = requests.get(f"{node.url}/v2/team/app/manifests/latest", timeout=10)
                assert answer.status_code == 200
                assert answer.content == item.manifest.content
    for node in (one, other):
        assert requests.get(f"{node.url}/v2/team/app/tags/list", timeout=10).json()["tags"] == ["latest"]
        assert not (node.data / "shoal.db").exists()
        assert node.stop() == 0
        assert not node.complaints()


def test_a_database_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, postgres_server: PostgresServer) -> None:
    known = postgres_server.new_database()
    cases = {
        f"postgresql://shoal@127.0.0.1:{free_port()}/shoal": "refused",
        postgres_server.url("absent"): 'database "absent" does not exist',
        known.replace("s3cret", "wr0ng"): "password authentication failed",
        "postgresql://shoal@no-such-host.invalid/shoal": "no-such-host.invalid",
    }
    for url, said in cases.items():
        ended = serve(tmp_path / "data", url)
        assert ended.returncode == 2, ended.stderr
        (line,) = ended.stderr.splitlines()
        assert line.startswith("shoal: the database postgresql://shoal")
        assert said in line
        assert "s3cret" not in line
        assert "wr0ng" not in line


def test_an_empty_database_beside_old_blobs_is_refused(tmp_path: Path, postgres_server: PostgresServer) -> None:
    blob = tmp_path / "data" / "blobs" / "sha256" / "aa" / ("a" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"old")
    ended = serve(tmp_path / "data", postgres_server.new_database())
    assert ended.returncode == 2
    assert "shoal db copy" in ended.stderr
