"""Redis holds soft state alone: whatever becomes of it, clients get the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import requests

from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.process import wait_until
from tests.harness.redis import RedisServer
from tests.harness.server import Settings, ShoalServer

pytestmark = pytest.mark.require("redis-server")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    found = RedisServer(tmp_path)
    yield found
    found.close()


def ready(shoal: ShoalServer) -> str:
    answer = requests.get(f"{shoal.url}/readyz", timeout=10)
    assert answer.status_code == 200
    return answer.text


def test_its_loss_changes_no_answer(server: RedisServer, tmp_path: Path) -> None:
    settings = {"redis": {"url": server.url}}
    with (
        ShoalServer(tmp_path / "a", settings=settings) as one,
        ShoalServer(tmp_path / "b", settings=settings, workers=2) as two,
        RegistryClient(one.url) as client,
    ):
        wait_until(lambda: "knows of: 2" in ready(one), "both nodes are known")
        assert "knows of: 2" in ready(two)
        item = small_image(1)
        client.push_image("team/app", item, "latest")

        def pulls() -> bool:
            answer = requests.get(f"{one.url}/v2/team/app/manifests/latest", timeout=10)
            return answer.status_code == 200 and answer.content == item.manifest.content

        poison = redis.Redis(port=server.port)
        poison.flushall()
        assert pulls()
        poison.lpush("shoal:node:a", "not what is expected here")
        assert pulls()
        server.kill()
        assert pulls()
        assert "nothing depends on it" in ready(one)
        client.push_image("team/app", small_image(2), "other")
        server.start()
        wait_until(lambda: "knows of: 2" in ready(one), "both nodes are known again", 30)
        assert one.complaints() == two.complaints() == []


def test_nodes_count_requests_together_and_poison_keeps_nobody_out(server: RedisServer, tmp_path: Path) -> None:
    settings: Settings = {"redis": {"url": server.url}, "limits": {"address_rate": 0.2, "burst": 10}}
    with ShoalServer(tmp_path / "a", settings=settings) as one, ShoalServer(tmp_path / "b", settings=settings) as two:
        answers = [requests.get(f"{node.url}/v2/", timeout=10) for node in (one, two) for _ in range(8)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 4 <= len(refused) <= 8
        assert refused[0].json()["errors"][0]["code"] == "TOOMANYREQUESTS"
        assert int(refused[0].headers["Retry-After"]) >= 1
        poison = redis.Redis(port=server.port)
        for value in ("no number", "1e300", "nan", "-5"):
            poison.flushall()
            poison.set("shoal:rate:address 127.0.0.1", value)
            assert requests.get(f"{two.url}/v2/", timeout=10).status_code == 200
        poison.delete("shoal:rate:address 127.0.0.1")
        poison.lpush("shoal:rate:address 127.0.0.1", "a list")
        assert requests.get(f"{one.url}/v2/", timeout=10).status_code in (200, 429)
        server.kill()
        assert requests.get(f"{two.url}/v2/", timeout=10).status_code in (200, 429)
