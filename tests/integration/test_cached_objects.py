"""The cache in front of a real S3 server: what it costs the store, over workers and restarts."""

from __future__ import annotations

import hashlib
import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.recorder import operation_of
from tests.harness.client import RegistryClient
from tests.harness.content import random_bytes
from tests.harness.process import wait_until
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import Settings, ShoalServer
from tests.harness.store_proxy import Fault, StoreProxy

REPO = "library/one"
CONTENT = random_bytes(8_000_000)
_buckets = itertools.count(1)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[StoreProxy]:
    with StoreProxy(s3_server.endpoint) as found:
        yield found


@pytest.fixture
def settings(s3_server: S3Server, proxy: StoreProxy) -> Settings:
    bucket = s3_server.bucket(f"cached-{next(_buckets)}").bucket
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return {"storage": {"kind": "s3", "endpoint": proxy.url, "bucket": bucket, "cache": "100MB", **keys}}


def pull(shoal: ShoalServer, digest: str, times: int = 1) -> set[str]:
    """Pulls at once, each on a connection of its own; the digests of what came."""

    def one(_: int) -> str:
        with RegistryClient(shoal.url) as client:
            return f"sha256:{hashlib.sha256(client.blob(REPO, digest)).hexdigest()}"

    with ThreadPoolExecutor(16) as pool:
        return set(pool.map(one, range(times)))


def cached(shoal: ShoalServer) -> list[Path]:
    return [path for path in (shoal.data / "cache").iterdir() if path.name != "lock"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crowd_costs_each_worker_one_read(
    settings: Settings, proxy: StoreProxy, tmp_path: Path, workers: int
) -> None:
    with ShoalServer(tmp_path / "data", workers=workers, settings=settings) as shoal:
        with RegistryClient(shoal.url) as client:
            digest = client.push_blob(REPO, CONTENT)
        proxy.counts.clear()
        assert pull(shoal, digest, 32) == {digest}
        assert 1 <= proxy.counts["GetObject"] <= workers
        proxy.choose = lambda method, url: Fault(status=503) if operation_of(method, url) == "GetObject" else None
        assert pull(shoal, digest, 32) == {digest}
        shoal.restart()
        shoal.process.send_signal(signal.SIGHUP)
        assert pull(shoal, digest, 32) == {digest}
        assert [path.stat().st_size for path in cached(shoal)] == [len(CONTENT)]
        assert shoal.complaints() == []


def test_damage_is_healed_and_without_the_setting_nothing_stays(
    settings: Settings, proxy: StoreProxy, tmp_path: Path
) -> None:
    with ShoalServer(tmp_path / "data", settings=settings) as shoal:
        with RegistryClient(shoal.url) as client:
            digest = client.push_blob(REPO, CONTENT)
        assert pull(shoal, digest) == {digest}
        proxy.counts.clear()
        cached(shoal)[0].write_bytes(CONTENT[:-1] + b"?")
        assert pull(shoal, digest, 4) == {digest}
        assert proxy.counts["GetObject"] == 1
        shoal._settings = {"storage": {**settings["storage"], "cache": 0}}  # type: ignore[dict-item]
        shoal.restart()
        wait_until(lambda: not cached(shoal), "the cache is cleared")
        assert pull(shoal, digest) == {digest}
        assert cached(shoal) == []
