"""podman, buildah and skopeo over a storage of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.process import run, short_directory


class Podman:
    """Use start(). The three programs share one storage and one (empty) file of credentials."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = {"REGISTRY_AUTH_FILE": str(root / "auth.json"), "HOME": str(root)}
        self._storage = ["--root", str(root / "root"), "--runroot", str(root / "run")]

    def podman(self, *words: str | Path, fails: bool = False, timeout: float = 100.0) -> str:
        command = ["podman", *self._storage, "--tmpdir", self.root / "tmp", "--runtime", "runc", *words]
        done = run(command, env=self._environment, fails=fails, timeout=timeout)
        return done.stderr if fails else done.stdout

    def buildah(self, *words: str | Path, fails: bool = False, timeout: float = 100.0) -> str:
        return run(["buildah", *self._storage, *words], env=self._environment, fails=fails, timeout=timeout).stdout

    def skopeo(self, *words: str | Path, fails: bool = False, timeout: float = 100.0) -> str:
        return run(["skopeo", *words], env=self._environment, fails=fails, timeout=timeout).stdout

    def image_id(self, name: str) -> str:
        """The digest of the image's config."""
        return "sha256:" + self.podman("image", "inspect", "--format", "{{.Id}}", name).strip()

    def run_image(self, name: str) -> str:
        """What a container of the image prints."""
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
        return self.podman("run", "--rm", "--network", "none", *limits, name)


@contextmanager
def start() -> Iterator[Podman]:
    """A storage until the block ends; its files and mounts go with it."""
    with short_directory("podman") as root:
        (root / "auth.json").write_text("{}")
        yield Podman(root)
