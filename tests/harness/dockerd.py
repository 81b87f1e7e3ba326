"""A dockerd with its own data root, socket and containerd, and the docker command that speaks to it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.harness.process import Daemon, run, short_directory


class Dockerd:
    """Use start(). Every address of 127.0.0.0/8 counts as an insecure registry; containers have no network."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = f"unix://{root}/d.sock"
        self._environment = {
            "DOCKER_HOST": self.address,
            "DOCKER_CONFIG": str(root / "config"),
            "DOCKER_BUILDKIT": "0",
            "DOCKER_CLI_EXPERIMENTAL": "enabled",
        }

    def docker(self, *words: str | Path, fails: bool = False, timeout: float = 100.0) -> str:
        """Runs the docker command; returns what it printed (stdout, with stderr behind it)."""
        done = run(["docker", *words], env=self._environment, fails=fails, timeout=timeout)
        return done.stdout + done.stderr

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Starts the docker command and does not wait; the caller does."""
        return subprocess.Popen(
            ["docker", "--host", self.address, "--config", self._environment["DOCKER_CONFIG"], *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def build(self, name: str, directory: Path) -> str:
        """Builds the Dockerfile in a directory; returns the image id."""
        self.docker("build", "--network", "none", "--tag", name, directory)
        return self.image_id(name)

    def image_id(self, name: str) -> str:
        """The digest of the image's config, as docker computes it from what it holds."""
        return run(["docker", "image", "inspect", "--format", "{{.Id}}", name], env=self._environment).stdout.strip()

    def repository_digest(self, name: str) -> str:
        """The manifest's digest that docker noted for an image at its push or pull."""
        template = "{{range .RepoDigests}}{{.}} {{end}}"
        found = run(["docker", "image", "inspect", "--format", template, name], env=self._environment).stdout.split()
        repository = name.rpartition(":")[0]
        return next(item.partition("@")[2] for item in found if item.startswith(f"{repository}@"))

    def remove(self, *names: str) -> None:
        self.docker("image", "rm", "--force", *names)

    def run_image(self, name: str) -> str:
        """What a container of the image prints."""
        command = ["docker", "run", "--rm", "--network", "none", name]
        return run(command, env=self._environment).stdout


@contextmanager
def start(env: Mapping[str, str] | None = None) -> Iterator[Dockerd]:
    """Runs a dockerd until the block ends, with `env` added to its environment; its files and mounts go with it."""
    with short_directory("dockerd") as root:
        docker = Dockerd(root)
        (root / "config").mkdir()
        command: list[str | Path] = [
            "dockerd",
            "--data-root",
            root / "data",
            "--exec-root",
            root / "exec",
            "--host",
            docker.address,
        ]
        command += ["--pidfile", root / "pid", "--iptables=false", "--bridge=none"]
        command += ["--insecure-registry", "127.0.0.0/8"]
        daemon = Daemon(command, root / "log", env)
        try:
            daemon.wait_for(lambda: _answers(docker))
            yield docker
        finally:
            daemon.close()


def _answers(docker: Dockerd) -> bool:
    asked = subprocess.run(["docker", "--host", docker.address, "info"], capture_output=True, timeout=30, check=False)
    return asked.returncode == 0 and b"Server Version" in asked.stdout
