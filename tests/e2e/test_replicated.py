"""The example of a master and two slaves, as somebody starts it who tries it out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.everything import tags_of, wait_until_same
from tests.harness.process import Daemon
from tests.harness.server import ROOT, free_ports

NODES = 3


@pytest.fixture
def example(tmp_path: Path) -> Iterator[tuple[Daemon, int]]:
    port = free_ports(NODES)
    daemon = Daemon([ROOT / "examples" / "replicated" / "run", tmp_path / "replicated", str(port)], tmp_path / "log")
    yield daemon, port
    daemon.close()


def test_a_push_arrives_on_both(example: tuple[Daemon, int]) -> None:
    daemon, port = example
    daemon.wait_for(lambda: "How far they are" in daemon.log.read_text(), 120)
    said = daemon.log.read_text()
    for slave in (port + 1, port + 2):
        assert re.search(rf"127\.0\.0\.1:{slave} had it \d\.\d+ s after that", said)
    master, *slaves = (f"http://127.0.0.1:{number}" for number in range(port, port + NODES))
    with RegistryClient(master) as pushes:
        pushes.push_image("team/app", small_image(1), "v1")
    for url in slaves:
        wait_until_same(master, url)
        assert set(tags_of(url)) == {"demo/hello:latest", "team/app:v1"}
