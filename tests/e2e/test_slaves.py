"""Real clients at a slave: they pull what was pushed to the master, and are told where to push."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.e2e.conftest import MakeContext
from tests.harness.dockerd import Dockerd
from tests.harness.everything import wait_until_same
from tests.harness.podman import Podman
from tests.harness.server import ShoalServer


@pytest.fixture
def pair(start_shoal: StartShoal) -> tuple[ShoalServer, ShoalServer]:
    """A master and its slave, which has two workers."""
    master = start_shoal()
    settings = {"replication": {"role": "slave", "master": master.url}}
    return master, start_shoal(settings=settings, workers=2)


@pytest.mark.require("dockerd", "docker", "gcc", "root")
def test_docker(docker: Dockerd, pair: tuple[ShoalServer, ShoalServer], make_context: MakeContext) -> None:
    master, slave = pair
    pushed, pulled = f"{master.host}/team/app:1", f"{slave.host}/team/app:1"
    built = docker.build(pushed, make_context("by way of a slave"))
    docker.docker("push", pushed)
    docker.remove(pushed)
    wait_until_same(master.url, slave.url)
    docker.docker("pull", pulled)
    assert docker.image_id(pulled) == built
    told = docker.docker("push", pulled, fails=True)
    assert f"this registry is a read-only copy: push to {master.url} instead" in told
    assert refused(slave) == 1, "it did not try again"
    docker.remove(pulled)


@pytest.mark.require("podman", "root")
def test_podman(containers: Podman, pair: tuple[ShoalServer, ShoalServer], tmp_path: Path) -> None:
    master, slave = pair
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("by way of a slave")
    (context / "Containerfile").write_text("FROM scratch\nCOPY file /file\n")
    pushed, pulled = f"{master.host}/team/app:1", f"{slave.host}/team/app:1"
    containers.podman("build", "--tag", pushed, str(context))
    containers.podman("push", "--tls-verify=false", pushed)
    wait_until_same(master.url, slave.url)
    containers.podman("pull", "--tls-verify=false", pulled)
    told = containers.podman("push", "--tls-verify=false", pulled, fails=True)
    assert f"push to {master.url} instead" in told
    assert refused(slave) == 1, "it did not try again"


def refused(slave: ShoalServer) -> int:
    """How many requests were answered with 405."""
    slave.wait_for_log(lambda entry: entry.get("status") == 405)
    return len([entry for entry in slave.logged() if entry.get("status") == 405])
