"""What people do today: `skopeo sync`, over and over."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.http import LoadError
from benchmarks.testbed.hosts import Host

SKOPEO_SYNC = "skopeo sync in a loop"
_PATIENCE = 900.0


def has_skopeo() -> bool:
    return shutil.which("skopeo") is not None


def sync(host: Host, source: str, target: str, folder: Path) -> bool:
    """Copy all tags of a repository (HOST:PORT/NAME) to below another path once; whether it said that all went."""
    nothing = folder / "auth.json"
    nothing.write_text("{}")
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    command = ["skopeo", "--insecure-policy", "sync", "--src", "docker", "--dest", "docker", *plain, source, target]
    with (folder / "skopeo.log").open("ab") as output:
        done = subprocess.run(
            host.command(command),
            env={**os.environ, "REGISTRY_AUTH_FILE": str(nothing)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=_PATIENCE,
            check=False,
        )
    return done.returncode == 0


@contextmanager
def syncing(host: Host, source: str, target: str, folder: Path) -> Iterator[None]:
    """Again and again while the block runs. Raises LoadError where no run went well."""
    if not sync(host, source, target, folder):
        raise LoadError(f"skopeo sync fails; the end of its output: {(folder / 'skopeo.log').read_text()[-500:]}")
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            sync(host, source, target, folder)

    thread = threading.Thread(target=run, name="skopeo sync")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
