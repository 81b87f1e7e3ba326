"""Two masters behind nginx, and everything that they stand on: each part is killed while clients push and pull."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.harness import content
from tests.harness.ceph import CephServer
from tests.harness.client import RegistryClient, UnexpectedAnswerError
from tests.harness.content import Image
from tests.harness.front import Front
from tests.harness.moving import fsck
from tests.harness.postgres import PostgresServer
from tests.harness.process import wait_until
from tests.harness.redis import RedisServer
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server, SeaweedServer
from tests.harness.server import Settings, ShoalServer, to_toml

pytestmark = pytest.mark.require("postgres", "redis-server", "nginx")

REPO = "team/app"
# What a client is told while a part is away, and after which it tries again: an upload may have ended with its node.
COME_AGAIN = (404, 416, 502, 503, 504)
_READ_OF_EACH = 5


@dataclass
class Cluster:
    """All parts, and how each is killed and started again."""

    front: Front
    masters: list[ShoalServer]
    postgres: PostgresServer
    redis: RedisServer
    store: S3Server
    settings: Settings

    def faults(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        one, other = self.masters
        return {
            "a master": (one.kill, one.restart),
            "the other master": (other.kill, other.restart),
            "Postgres": (self.postgres.kill, self.postgres.start),
            "Postgres, in order": (self.postgres.stop, self.postgres.start),
            "Redis": (self.redis.kill, self.redis.start),
            "the store": (self.store.kill, self.store.start),
        }

    def wait_until_ready(self) -> None:
        for master in self.masters:
            wait_until(lambda url=master.url: is_ready(url), f"{master.url} is ready", 40)  # type: ignore[misc]


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=10).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture
def cluster(store_class: type[SeaweedServer | CephServer], tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        store: S3Server = store_class(tmp_path / "store").start()
        stack.callback(store.close)
        redis = RedisServer(tmp_path)
        stack.callback(redis.close)
        bucket = store.bucket("cluster").bucket
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        settings: Settings = {
            "storage": {"kind": "s3", "endpoint": store.endpoint, "bucket": bucket, **keys},
            "database": {"url": postgres.new_database()},
            "redis": {"url": redis.url},
        }
        masters = [
            ShoalServer(tmp_path / name, settings=settings, workers=count) for name, count in (("a", 1), ("b", 2))
        ]
        for master in masters:
            stack.enter_context(master)
        front = stack.enter_context(Front(tmp_path / "front", [master.port for master in masters]))
        yield Cluster(front, masters, postgres, redis, store, settings)


@dataclass
class Pushing:
    """Clients that push images of their own through the front, trying again as long as they are told to."""

    url: str
    acknowledged: dict[str, Image] = field(default_factory=dict)
    again: Counter[object] = field(default_factory=Counter)
    failed: list[Exception] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self, clients: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, threads: list[threading.Thread]) -> None:
        self._ended.set()
        for thread in threads:
            thread.join()
        assert self.failed == []

    def _work(self, client: int) -> None:
        try:
            for number in itertools.count():
                if self._ended.is_set():
                    return
                size = 9_000_000 if number % 4 == 1 else 60_000
                image = content.image(content.random_layer(size, client * 1_000_000 + number))
                self._push(f"c{client}-{number}", image)
        except Exception as error:
            self.failed.append(error)

    def _push(self, tag: str, image: Image) -> None:
        deadline = time.monotonic() + 90
        while True:
            try:
                with RegistryClient(self.url) as client:
                    client.push_image(REPO, image, tag)
                self.acknowledged[tag] = image
                time.sleep(0.05)
                return
            except (requests.RequestException, UnexpectedAnswerError) as error:
                status = getattr(error, "status", None)
                if status not in (None, *COME_AGAIN) or time.monotonic() > deadline:
                    raise
                self.again[status] += 1
                time.sleep(0.1)


def check(cluster: Cluster, acknowledged: dict[str, Image], chosen: random.Random) -> None:
    """Every node knows every tag that was acknowledged, and gives some of the images byte for byte."""
    for master in cluster.masters:
        with RegistryClient(master.url) as client:
            assert {tag: client.resolve(REPO, tag) for tag in acknowledged} == {
                tag: image.digest for tag, image in acknowledged.items()
            }
            for tag in chosen.sample(sorted(acknowledged), min(_READ_OF_EACH, len(acknowledged))):
                client.check_image(REPO, acknowledged[tag])


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("rounds", [1, pytest.param(9, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost(cluster: Cluster, rounds: int, tmp_path: Path) -> None:
    """Six parts a round."""
    seed = time.time_ns() % 10_000
    print(f"seed {seed}")
    chosen, checked = random.Random(seed), set[str]()  # noqa: S311 - no secret
    pushing = Pushing(cluster.front.url)
    threads = pushing.start(4)
    for _ in range(rounds):
        faults = list(cluster.faults().items())
        chosen.shuffle(faults)
        for name, (kill, start) in faults:
            before = len(pushing.acknowledged)
            time.sleep(chosen.uniform(0.1, 1.0))
            kill()
            time.sleep(chosen.uniform(0.0, 1.5))
            start()
            cluster.wait_until_ready()
            wait_until(lambda before=before: len(pushing.acknowledged) > before + 2, f"pushes go on after {name}", 60)  # type: ignore[misc]
            new = {tag: image for tag, image in list(pushing.acknowledged.items()) if tag not in checked}
            check(cluster, new, chosen)
            checked |= set(new)
    pushing.stop(threads)
    check(cluster, pushing.acknowledged, chosen)
    for master in cluster.masters:
        master.stop()
    config = tmp_path / "shoal.toml"
    config.write_text(to_toml(cluster.settings))
    assert fsck(cluster.masters[0].data, "--deep", "--config", str(config), status=0) == []
