"""The example of a cluster, as an operator starts it, with a real docker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import MakeContext
from tests.harness.client import RegistryClient
from tests.harness.content import random_bytes, small_image
from tests.harness.dockerd import Dockerd
from tests.harness.process import Daemon, short_directory, wait_until
from tests.harness.server import ROOT, free_ports

pytestmark = pytest.mark.require("dockerd", "docker", "gcc", "root", "postgres", "redis-server", "nginx")

PORTS = 15


class Cluster:
    """`examples/cluster/run` on free ports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.front = free_ports(PORTS)
        directory.chmod(0o755)  # Postgres runs as another user
        command: list[str | Path] = [ROOT / "examples" / "cluster" / "run", directory / "cluster", str(self.front)]
        self._daemon = Daemon(command, directory / "log")
        self._daemon.wait_for(lambda: "Pull by the other" in (directory / "log").read_text(), 120)

    def host(self, number: int) -> str:
        """0: nginx; 1 and 2: the masters."""
        return f"127.0.0.1:{self.front + number}"

    def master(self, number: int) -> int:
        """The process of a master."""
        data = f"--data\0{self.directory}/cluster/master-{'ab'[number - 1]}\0"
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if data in path.read_text() and "serve" in path.read_text():
                    return int(path.parent.name)
        raise AssertionError("the master does not run")

    def close(self) -> None:
        self._daemon.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with short_directory("cluster") as directory:
        found = Cluster(directory)
        yield found
        found.close()


def test_docker_pushes_through_one_and_pulls_through_the_other(
    docker: Dockerd, cluster: Cluster, make_context: MakeContext
) -> None:
    name = f"{cluster.host(1)}/team/app:1"
    built = docker.build(name, make_context("hello from the cluster", {"data": random_bytes(12_000_000, 1)}))
    docker.docker("push", name)
    docker.remove(name)
    for number in (2, 0):
        other = f"{cluster.host(number)}/team/app:1"
        docker.docker("pull", other)
        assert docker.image_id(other) == built
        assert docker.run_image(other) == "hello from the cluster"
        docker.remove(other)


def test_a_master_that_is_killed_costs_nothing_acknowledged(cluster: Cluster) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()

    def push() -> None:
        for seed in range(1000, 2000):
            if stop.is_set():
                return
            while not stop.is_set():
                try:
                    with RegistryClient(f"http://{cluster.host(0)}") as client:
                        client.push_image("team/many", small_image(seed), f"v{seed}")
                except (AssertionError, requests.exceptions.RequestException):
                    time.sleep(0.1)  # the client tries again, and reaches the other one
                    continue
                acknowledged.append(seed)
                break

    pushing = threading.Thread(target=push)
    pushing.start()
    try:
        wait_until(lambda: len(acknowledged) > 2, "images are pushed")
        os.kill(cluster.master(1), signal.SIGKILL)
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 2, "pushes go on at the other master", 60)
    finally:
        stop.set()
        pushing.join()
    for seed in acknowledged:
        answer = requests.get(f"http://{cluster.host(2)}/v2/team/many/manifests/v{seed}", timeout=10)
        assert answer.content == small_image(seed).manifest.content
