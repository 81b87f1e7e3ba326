"""A Redis server from Debian."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.harness.process import Daemon
from tests.harness.server import free_port


class RedisServer:
    """On a free port of 127.0.0.1; it keeps nothing on the disk."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self.daemon = self.start()

    def start(self) -> Daemon:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir"]
        self.daemon = Daemon([*command, str(self._directory)], self._directory / "redis.log")
        self.daemon.wait_for(self._answers)
        return self.daemon

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.daemon.process.kill()
        self.daemon.process.wait(10)

    def close(self) -> None:
        self.daemon.close()
