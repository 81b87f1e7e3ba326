"""Two nodes push, delete and read one tag at once, while connections and a node are lost: there is a serial order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import requests
import urllib3.exceptions

from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.history import FOREVER, Operation, has_serial_order
from tests.harness.postgres import PostgresServer
from tests.harness.server import ShoalServer

pytestmark = pytest.mark.require("postgres")

REPO, TAG = "team/app", "contested"
IMAGES = [small_image(number) for number in range(4)]
CLIENTS = 4


@pytest.fixture
def nodes(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[tuple[str, list[ShoalServer]]]:
    url = postgres_server.new_database()
    settings = {"database": {"url": url}}
    found = [ShoalServer(tmp_path / name, settings=settings, workers=count) for name, count in (("a", 1), ("b", 2))]
    with found[0], found[1]:
        with RegistryClient(found[0].url) as client:
            for image in IMAGES:
                client.push_image(REPO, image)
        yield url, found


class Crowd:
    """Clients that do one thing after the other at any node, until `stop`; the history of all of them."""

    def __init__(self, nodes: list[ShoalServer], seed: int) -> None:
        self.history: list[Operation] = []
        self._nodes = nodes
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(seed * 100 + n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _work(self, seed: int) -> None:
        chosen = random.Random(seed)  # noqa: S311 - no secret
        session = requests.Session()
        while not self._ended.is_set():
            url = f"{chosen.choice(self._nodes).url}/v2/{REPO}/manifests/{TAG}"
            start = time.monotonic()
            done = chosen.choice((self._put, self._read, self._read, self._delete))(session, url, chosen)
            if done is not None:
                value, writes, answered = done
                self.history.append(Operation(start, time.monotonic() if answered else FOREVER, value, writes))
            time.sleep(chosen.random() * 0.01)

    def _put(self, session: requests.Session, url: str, chosen: random.Random) -> tuple[str | None, bool, bool] | None:
        image = chosen.choice(IMAGES)
        headers = {"Content-Type": image.manifest.media_type}
        status = _status(lambda: session.put(url, data=image.manifest.content, headers=headers, timeout=20))
        return None if status is None else (image.digest, True, status == 201)

    def _delete(
        self, session: requests.Session, url: str, _chosen: random.Random
    ) -> tuple[str | None, bool, bool] | None:
        status = _status(lambda: session.delete(url, timeout=20))
        if status is None:
            return None
        return (None, False, True) if status == 404 else (None, True, status == 202)

    def _read(
        self, session: requests.Session, url: str, _chosen: random.Random
    ) -> tuple[str | None, bool, bool] | None:
        try:
            answer = session.get(url, timeout=20)
        except requests.RequestException:
            return None
        if answer.status_code == 404:
            return None, False, True
        return (answer.headers["Docker-Content-Digest"], False, True) if answer.status_code == 200 else None


def _status(ask: Callable[[], requests.Response]) -> int | None:
    """None where nothing was sent, 0 where no answer came; any other failure but "come again" is none that a fault
    explains.
    """
    try:
        answer = ask()
    except requests.RequestException as error:
        return None if _found_nobody(error) else 0
    assert answer.status_code in (201, 202, 404, 503), answer.text
    return answer.status_code


def _found_nobody(error: requests.RequestException) -> bool:
    """Whether the connection was refused: such a write was never done, so no later read is explained by it."""
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), urllib3.exceptions.NewConnectionError)


def cut_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_has_a_serial_order(nodes: tuple[str, list[ShoalServer]], rounds: int) -> None:
    url, servers = nodes
    chosen = random.Random(rounds)  # noqa: S311 - no secret
    initial: str | None = None
    for number in range(rounds):
        crowd = Crowd(servers, number)
        time.sleep(chosen.uniform(0.3, 1.0))
        cut_connections(url)
        time.sleep(chosen.uniform(0.3, 1.0))
        killed = chosen.choice(servers)
        killed.kill()
        time.sleep(chosen.uniform(0, 0.5))
        killed.restart()
        time.sleep(0.3)
        crowd.stop()
        assert len(crowd.history) > 100
        assert sum(operation.writes for operation in crowd.history) > 20
        assert has_serial_order(crowd.history, initial), sorted(crowd.history, key=lambda each: each.start)
        with RegistryClient(servers[0].url) as client:
            initial = client.resolve(REPO, TAG)
