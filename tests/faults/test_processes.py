"""Signals, drains, and starts that have to be refused."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.adapters
import urllib3.exceptions

from tests.faults.conftest import StartNode
from tests.faults.node import Node
from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, random_bytes, small_image
from tests.harness.process import wait_until
from tests.harness.server import ROOT, Settings, ShoalServer

# Of either, more than the kernel holds for a side that does not read.
PULLED, PUSHED = random_bytes(20_000_000, 1), random_bytes(20_000_000, 2)


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class SmallBuffer(requests.adapters.HTTPAdapter):
    """The kernel holds little for a client that does not read: by itself it takes up to 32 MB."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)])


class Transfers:
    """An upload and a download that are half done, and go on when the test says so."""

    def __init__(self, node: Node) -> None:
        self.outcome: dict[str, object] = {}
        with RegistryClient(node.url) as client:
            self._digest = client.push_blob("app", PULLED)
        self._begun = threading.Barrier(3)
        self._may_go_on = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(work, node.url)) for work in (self._push, self._pull)]
        for thread in self._threads:
            thread.start()
        self._begun.wait(30)

    def finish(self) -> None:
        self._may_go_on.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, work: Callable[[RegistryClient], bool], url: str) -> None:
        with RegistryClient(url) as client:
            client.session.mount("http://", SmallBuffer())
            try:
                self.outcome[work.__name__] = work(client)
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                self.outcome[work.__name__] = error

    def _wait(self) -> None:
        self._begun.wait(30)
        self._may_go_on.wait(60)

    def _push(self, client: RegistryClient) -> bool:
        location = client.start_upload("app")
        address = f"{location}?digest={digest_of(PUSHED)}"
        return client.request("PUT", address, data=self._halves()).status_code == 201

    def _halves(self) -> Iterator[bytes]:
        half = len(PUSHED) // 2
        yield PUSHED[:half]
        self._wait()
        yield PUSHED[half:]

    def _pull(self, client: RegistryClient) -> bool:
        answer = client.request("GET", f"/v2/app/blobs/{self._digest}", stream=True)
        received = answer.raw.read(len(PULLED) // 20)
        self._wait()
        return received + answer.raw.read() == PULLED


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_transfers_finish(start_node: StartNode, workers: int) -> None:
    node = start_node(workers=workers)
    transfers = Transfers(node)
    os.kill(node.pid, signal.SIGTERM)
    wait_until(lambda: refused(node.port), "new connections are refused", 10)
    assert node.process.poll() is None, "it waits for what runs"
    transfers.finish()
    assert transfers.outcome == {"_push": True, "_pull": True}
    assert node.process.wait(20) == 0
    node.start()
    with RegistryClient(node.url) as client:
        assert client.has_blob("app", digest_of(PUSHED))


@pytest.mark.parametrize("workers", [1, 2])
def test_drain_ends_in_time(start_node: StartNode, workers: int) -> None:
    """Transfers that take longer than drain_timeout are cut, and the client sees that."""
    node = start_node(workers=workers, settings={"server": {"drain_timeout": 1}})
    transfers = Transfers(node)
    assert node.stop(20) == 0
    transfers.finish()
    assert transfers.outcome["_push"] is not True
    assert transfers.outcome["_pull"] is not True


def test_idle_connections_do_not_hold_up_a_stop(start_node: StartNode) -> None:
    for workers in (1, 2):
        node = start_node(workers=workers)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(RegistryClient(node.url))
                client.request("GET", "/v2/", want=200)
            started = time.monotonic()
            assert node.stop(10) == 0
            assert time.monotonic() - started < 4


def test_sigint_ends_it_too(start_node: StartNode) -> None:
    node = start_node(workers=2)
    os.kill(node.pid, signal.SIGINT)
    assert node.process.wait(10) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reads_settings_again(start_node: StartNode, workers: int) -> None:
    """Log level and expiry change under running clients; nobody is cut."""
    node = start_node(workers=workers, settings={"collect": {"interval": 0.2}, "log": {"level": "info"}})
    with RegistryClient(node.url) as client:
        location = client.patch(client.start_upload("app"), b"some bytes")
        quiet: Settings = {"collect": {"interval": 0.2}, "uploads": {"expire_after": 0.5}, "log": {"level": "warning"}}
        node.write_settings(quiet)
        os.kill(node.pid, signal.SIGHUP)
        wait_until(lambda: client.request("GET", location).status_code == 404, "the upload expires")
        time.sleep(0.5)
        lines = len(node.logged())
        for _ in range(20):
            client.request("GET", "/v2/", want=200)
        time.sleep(0.5)
        assert len(node.logged()) == lines, "requests are not logged at level warning"
        node.reconfigure({"log": {"level": "info"}})
        time.sleep(0.2)
        client.request("GET", "/v2/marked/tags/list", want=404)
        node.wait_for_log(lambda entry: "marked" in str(entry.get("path")), 5)


def test_sighup_with_bad_settings_changes_nothing(start_node: StartNode) -> None:
    node = start_node(settings={"log": {"level": "info"}})
    node.write_settings({"log": {"level": "loud"}})
    os.kill(node.pid, signal.SIGHUP)
    node.wait_for_log(lambda entry: entry["level"] == "error" and "loud" in str(entry.get("error")), 5)
    with RegistryClient(node.url) as client:
        client.push_image("app", small_image(), "latest")


def test_sighup_again_and_again(start_node: StartNode) -> None:
    """Pushes and pulls go on while the settings are read twenty times."""
    node = start_node(workers=2)
    stopped = threading.Event()

    def hang_up() -> None:
        while not stopped.is_set():
            os.kill(node.pid, signal.SIGHUP)
            time.sleep(0.1)

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        with RegistryClient(node.url) as client:
            for seed in range(20):
                client.push_image("app", small_image(seed), f"t{seed}")
                client.check_image("app", small_image(seed), f"t{seed}")
    finally:
        stopped.set()
        thread.join()


def refusal(server: ShoalServer) -> str:
    """What a start that must fail says: exit status 2, one line, no traceback."""
    done = subprocess.run(
        server.command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2, done
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("shoal: ")
    return lines[0]


def test_second_server_on_the_same_data(start_node: StartNode) -> None:
    node = start_node()
    assert "in use by another shoal" in refusal(ShoalServer(node.data))
    with RegistryClient(node.url) as client:
        client.request("GET", "/readyz", want=200)


def test_port_in_use(start_node: StartNode, tmp_path: Path) -> None:
    node = start_node()
    line = refusal(ShoalServer(tmp_path / "other", port=node.port))
    assert str(node.port) in line
    assert "--listen" in line


def test_data_of_a_newer_version(start_node: StartNode) -> None:
    node = start_node()
    with RegistryClient(node.url) as client:
        client.push_image("app", small_image(), "latest")
    node.stop()
    with closing(sqlite3.connect(node.data / "shoal.db")) as connection:
        connection.execute("UPDATE properties SET value = '999' WHERE name = 'schema_version'")
        connection.commit()
    before = (node.data / "shoal.db").read_bytes()
    line = refusal(ShoalServer(node.data))
    assert "newer version" in line
    assert (node.data / "shoal.db").read_bytes() == before, "a start that is refused changes nothing"


def test_data_that_is_no_database(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "shoal.db").write_bytes(b"this is no database" * 1000)
    assert "shoal.db" in refusal(ShoalServer(data)) or "database" in refusal(ShoalServer(data))
    assert (data / "shoal.db").read_bytes().startswith(b"this is no database")
