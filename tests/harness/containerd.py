"""A containerd with its own root and socket, and the ctr command that speaks to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.process import CommandError, Daemon, run, short_directory

LOST_CONTENT_STORE = "rpc error: code = Internal desc = unexpected EOF"
CONFIG = """version = 2
root = {root}
state = {state}
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = {socket}
"""


class Containerd:
    """Use start()."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "c.sock"

    def ctr(self, *words: str | Path, fails: bool = False, timeout: float = 100.0) -> str:
        """Runs ctr; returns what it printed (stdout, with stderr behind it)."""
        done = run(["ctr", "--address", self.socket, *words], fails=fails, timeout=timeout)
        return done.stdout + done.stderr

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Starts ctr and does not wait; the caller does."""
        command = ["ctr", "--address", str(self.socket), *words]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def push(self, name: str) -> None:
        """Pushes an image.

        About one time in two hundred ctr 1.6 loses its own connection to containerd's content store,
        whatever the registry; that one failure, which no registry can cause, is tried again.
        """
        command = ["images", "push", "--plain-http", name]
        try:
            self.ctr(*command)
        except CommandError as error:
            if LOST_CONTENT_STORE not in str(error):
                raise
            self.ctr(*command)

    def pull(self, name: str) -> None:
        self.ctr("images", "pull", "--plain-http", name)

    def digest(self, name: str) -> str:
        """The digest of the manifest or index that an image name stands for."""
        lines = self.ctr("images", "list", f"name=={name}").splitlines()
        return next(line.split()[2] for line in lines if line.split()[0] == name)

    def content(self, digest: str) -> bytes:
        """The bytes that the content store holds under a digest."""
        return (
            self.root / "root/io.containerd.content.v1.content/blobs/sha256" / digest.removeprefix("sha256:")
        ).read_bytes()

    def forget(self, *names: str) -> None:
        """Removes images and waits until the content that only they held is gone."""
        self.ctr("images", "remove", "--sync", *names)
        self.ctr("content", "prune", "references")

    def run_image(self, name: str) -> str:
        """What a container of the image prints."""
        return run(["ctr", "--address", self.socket, "run", "--rm", name, f"run-{id(name)}"]).stdout


@contextmanager
def start() -> Iterator[Containerd]:
    """Runs a containerd until the block ends; its files and mounts go with it."""
    with short_directory("containerd") as root:
        containerd = Containerd(root)
        paths = {"root": root / "root", "state": root / "state", "socket": containerd.socket}
        config = root / "config.toml"
        config.write_text(CONFIG.format(**{name: json.dumps(str(path)) for name, path in paths.items()}))
        daemon = Daemon(["containerd", "--config", config], root / "log")
        try:
            daemon.wait_for(containerd.socket.exists)
            containerd.ctr("version")
            yield containerd
        finally:
            daemon.close()
