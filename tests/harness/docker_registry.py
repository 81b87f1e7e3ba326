"""docker-registry 2.x, the one of Debian, with its storage in a directory."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.process import Daemon
from tests.harness.server import free_port

V2 = Path("docker/registry/v2")
# bcrypt of "secret", as htpasswd makes it
_ACCOUNT = "mover:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"
ACCOUNT = ("mover", "secret")


class DockerRegistry:
    """A context manager. `closed`: only ACCOUNT may do anything. `storage`: instead of the directory."""

    def __init__(self, data: Path, *, closed: bool = False, storage: Mapping[str, object] | None = None) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._closed = closed
        self._storage = storage or {"filesystem": {"rootdirectory": str(data)}}
        self._daemon: Daemon | None = None

    def start(self) -> Self:
        settings: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {**self._storage, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        if self._closed:
            accounts = self.data.with_suffix(".htpasswd")
            accounts.write_text(_ACCOUNT)
            settings["auth"] = {"htpasswd": {"realm": "old", "path": str(accounts)}}
        config = self.data.with_suffix(".json")  # every JSON text is a YAML text
        config.write_text(json.dumps(settings))
        self._daemon = Daemon(["docker-registry", "serve", config], self.data.with_suffix(".log"))
        self._daemon.wait_for(self._answers)
        return self

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.close()
            self._daemon = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def blob_file(data: Path, digest: str) -> Path:
    """Where docker-registry keeps a blob or a manifest."""
    algorithm, _, name = digest.partition(":")
    return data / V2 / "blobs" / algorithm / name[:2] / name / "data"


def manifests_of(data: Path, repository: str) -> Path:
    return data / V2 / "repositories" / repository / "_manifests"
