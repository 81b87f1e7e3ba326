"""A server whose settings a test changes while it runs, and the round of checks after each fault."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any, Self

from tests.faults import datadir
from tests.faults.ledger import Ledger, check_whole
from tests.harness.client import RegistryClient
from tests.harness.process import wait_until
from tests.harness.server import Settings, ShoalServer, to_toml

PATIENT: Settings = {"collect": {"interval": 3600}}
"""Nothing is cleared up while clients may still come back."""
EAGER: Settings = {"uploads": {"expire_after": 0.2}, "collect": {"interval": 0.05}}
"""Uploads expire at once; blobs that were acknowledged keep their long grace time."""
BUSY: Settings = {"collect": {"interval": 0.05}}
"""The collector is always on its way, and finds what was deleted."""

_READ_AGAIN = "the settings were read again"


class Node(ShoalServer):
    """Settings are read again on SIGHUP; start() waits for /readyz as ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_memory: set[Path] = set()

    def reconfigure(self, settings: Settings) -> None:
        """Write the settings, send SIGHUP, and wait until they are in force."""
        before = self.log_text().count(_READ_AGAIN)
        self.write_settings(settings)
        os.kill(self.pid, signal.SIGHUP)
        wait_until(lambda: self.log_text().count(_READ_AGAIN) > before, "the settings are read again")

    def write_settings(self, settings: Settings) -> None:
        """What the next SIGHUP or start finds."""
        self._settings = settings
        self._config.write_text(to_toml(settings))

    def start(self) -> Self:
        """As ever; what the server keeps in memory is noted, since nobody removes that after a kill."""
        super().start()
        link = self.data / "metrics"
        if link.is_symlink():
            self._in_memory.add(link.readlink())
        return self

    def close(self) -> None:
        super().close()
        for folder in self._in_memory:
            shutil.rmtree(folder, ignore_errors=True)

    def start_with(self, settings: Settings) -> None:
        """Start anew after a fault."""
        self._settings = settings
        self.start()

    def recover(self, victim: int, workers: int) -> None:
        """After the process `victim` was killed: start the node anew, or wait for the worker that replaces it."""
        if victim == self.process.pid:
            self.process.wait(10)
            wait_until(lambda: not self._is_open(), "the workers have followed the node")
            self.start_with(PATIENT)
        wait_until(lambda: victim not in (found := self.workers) and len(found) == workers, "the worker is replaced")

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def workers(self) -> list[int]:
        """The ids of the worker processes, none where one process is all."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def check_after(node: Node, ledger: Ledger, only: str = "", *, power_failed: bool = False) -> None:
    """All promises hold, nothing half is visible, uploads go on, and garbage goes away."""
    with RegistryClient(node.url) as client:
        ledger.check(client, only)
        ledger.finish_sessions(client, power_failed=power_failed)
        datadir.check_journal(node.data)
        check_whole(client, {need for need in datadir.needed_blobs(node.data) if need[0].startswith(only)})
        clear_up(node)
        ledger.check(client, only)


def clear_up(node: Node) -> None:
    """Let the collector work until only what is acknowledged is left; then leave it patient again."""
    node.reconfigure(EAGER)
    deadline = time.monotonic() + 20
    while left := datadir.leftovers(node.data):
        assert time.monotonic() < deadline, f"garbage stays: {left}"
        time.sleep(0.05)
    node.reconfigure(PATIENT)
