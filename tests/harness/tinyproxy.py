"""A forward proxy: tinyproxy, the one of Debian."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.process import Daemon
from tests.harness.server import free_port


class TinyProxy:
    """On a port of 127.0.0.1; its files are in `directory`. It passes requests on, and tunnels (CONNECT)."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = directory / "proxy.log"
        self._config = directory / "proxy.conf"
        self._daemon: Daemon | None = None

    def start(self) -> None:
        lines = (f"Port {self.port}", "Listen 127.0.0.1", "Allow 127.0.0.1", "LogLevel Connect", "Timeout 60")
        self._config.write_text("\n".join(lines) + "\n")
        self._daemon = Daemon(["tinyproxy", "-d", "-c", self._config], self._log)
        self._daemon.wait_for(self._listens)

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.close()

    def passed_on(self, what: str) -> int:
        """How many requests of a kind it has passed on, such as "CONNECT"."""
        return self._log.read_text().count(f": {what} ")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
