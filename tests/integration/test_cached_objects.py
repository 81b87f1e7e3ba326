"""The cache in front of a real S3 server: what it costs the store, over workers and restarts."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest
import requests

from benchmarks.recorder import operation_of
from tests.harness.client import RegistryClient
from tests.harness.content import random_bytes
from tests.harness.process import wait_until
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import Settings, ShoalServer
from tests.harness.store_proxy import Choose, Fault, StoreProxy

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


def metric(shoal: ShoalServer, name: str) -> float:
    lines = requests.get(f"{shoal.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split()[0] == name)


def only_get(fault: Fault) -> Choose:
    """The fault, for the first GetObject."""
    faults = [fault]
    return lambda method, url: faults.pop() if faults and operation_of(method, url) == "GetObject" else None


class Pull(Thread):
    """One, over a connection whose `port` is known. `got`: the digest of what came, "" where it was broken off."""

    def __init__(self, shoal: ShoalServer, digest: str) -> None:
        super().__init__()
        self._path = f"/v2/{REPO}/blobs/{digest}"
        self._connection = http.client.HTTPConnection("127.0.0.1", shoal.port, timeout=60)
        self._connection.connect()
        self.port = self._connection.sock.getsockname()[1]
        self.got: str | None = None

    def run(self) -> None:
        try:
            self._connection.request("GET", self._path)
            self.got = f"sha256:{hashlib.sha256(self._connection.getresponse().read()).hexdigest()}"
        except (http.client.HTTPException, OSError):
            self.got = ""
        finally:
            self._connection.close()


def worker_that_fills(shoal: ShoalServer) -> int:
    """The process that has the file locked which is being filled."""
    (filling,) = [path for path in cached(shoal) if path.name.endswith(".filling")]
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and fields[-3].endswith(f":{filling.stat().st_ino}"):
            return int(fields[-4])
    raise AssertionError("nobody fills it")


def clients_of(pid: int) -> set[int]:
    """The ports of those who are connected with a process."""
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in links}


def test_a_worker_that_is_killed_while_it_fills_takes_nobody_else_with_it(
    settings: Settings, proxy: StoreProxy, tmp_path: Path
) -> None:
    with ShoalServer(tmp_path / "data", workers=3, settings=settings) as shoal:
        with RegistryClient(shoal.url) as client:
            digest = client.push_blob(REPO, CONTENT)
        proxy.counts.clear()
        proxy.choose = only_get(Fault(pause=(4_000_000, 10.0)))
        pulls = [Pull(shoal, digest) for _ in range(32)]
        for one in pulls:
            one.start()
            time.sleep(0.02)  # at once, one worker would take them all out of the queue
        wait_until(lambda: any(path.stat().st_size > 3_000_000 for path in cached(shoal)), "half of it is there")
        time.sleep(0.5)
        filler = worker_that_fills(shoal)
        with_it = clients_of(filler)
        os.kill(filler, signal.SIGKILL)
        for one in pulls:
            one.join()
        others = [one for one in pulls if one.port not in with_it]
        assert 0 < len(others) < len(pulls)
        assert {one.got for one in others} == {digest}
        assert {one.got for one in pulls} == {digest, ""}
        assert proxy.counts["GetObject"] == 2, "one of the others went on, for all"
        assert pull(shoal, digest, 8) == {digest}
        assert proxy.counts["GetObject"] == 2
        assert [path.stat().st_size for path in cached(shoal)] == [len(CONTENT)]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_crowd_costs_the_node_one_read(settings: Settings, proxy: StoreProxy, tmp_path: Path, workers: int) -> None:
    with ShoalServer(tmp_path / "data", workers=workers, settings=settings) as shoal:
        with RegistryClient(shoal.url) as client:
            digest = client.push_blob(REPO, CONTENT)
        proxy.counts.clear()
        proxy.choose = only_get(Fault(pause=(4_000_000, 2.0)))
        assert pull(shoal, digest, 32) == {digest}
        assert proxy.counts["GetObject"] == 1
        assert metric(shoal, "shoal_cache_misses_total") >= 2
        assert metric(shoal, "shoal_cache_filled_bytes_total") == metric(shoal, "shoal_cache_bytes") == len(CONTENT)
        proxy.choose = lambda method, url: Fault(status=503) if operation_of(method, url) == "GetObject" else None
        assert pull(shoal, digest, 32) == {digest}
        assert metric(shoal, "shoal_cache_hits_total") >= 32
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
