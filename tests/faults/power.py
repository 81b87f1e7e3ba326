"""Running a server on a disk that forgets, and starting it anew after the power came back."""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.process import Daemon, run, wait_until
from tests.harness.server import ROOT

KINDS = ("synced", "names", "zeros", "some")


def other_boot(folder: Path) -> list[str]:
    """A command prefix: the program sees another boot id than the machine has."""
    fake = folder / f"boot-{uuid.uuid4()}"
    fake.write_text(f"{uuid.uuid4()}\n")
    mounted = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mounted, str(fake)]


class Power:
    """A volatile disk (tests.faults.volatile_disk), mounted at `path` while the power is on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        environment = {"PYTHONPATH": str(ROOT)}
        command: list[str | Path] = [sys.executable, "-m", "tests.faults.volatile_disk", path]
        self._daemon = Daemon(command, path.with_name(path.name + ".fuse.log"), environment)

    def __enter__(self) -> Self:
        self._daemon.wait_for(self.path.is_mount)
        return self

    def sync(self) -> None:
        """All that was written becomes durable, as it does by itself after some seconds."""
        os.setxattr(self.path, "user.sync", b"now")

    def fail(self, kind: str, seed: int, survivors: Path) -> None:
        """Nothing can be written from now on; `survivors` is made of what the disk still has."""
        cut = {"kind": kind, "seed": seed, "survivors": str(survivors)}
        os.setxattr(self.path, "user.power", json.dumps(cut).encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(["umount", "--lazy", self.path])
        wait_until(lambda: self._daemon.process.poll() is not None or not self.path.is_mount(), "the disk is gone")
        self._daemon.close()
