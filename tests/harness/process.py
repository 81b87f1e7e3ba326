"""Other people's programs: one command with a bound on its time, or a daemon with a log."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

FOREIGN = ("SHOAL_", "REGISTRY_", "AWS_", "DOCKER_", "CONTAINER", "STORAGE_", "BUILDAH_")
TAIL_LINES = 30


class CommandError(AssertionError):
    """A program ended with another status than the test wanted; the message holds its output."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without the variables that would point a client at the user's own daemons or files."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return kept | dict(extra or {})


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 100.0,
    fails: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; raises CommandError when it fails, or with fails=True when it does not."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            env=clean_environment(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"`{' '.join(words)}` did not end within {timeout:g} s: {error.stderr!r}") from None
    if (done.returncode != 0) != fails:
        wanted = "should have failed" if fails else f"ended with status {done.returncode}"
        raise CommandError(f"`{' '.join(words)}` {wanted}\nstdout: {done.stdout}\nstderr: {done.stderr}")
    return done


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Polls until the condition holds; raises TimeoutError that says what was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(0.02)


class Daemon:
    """A program that runs until close(); its output goes to a file."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.name = Path(command[0]).name
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                env=clean_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        """Waits until the daemon answers; raises CommandError with the tail of its log when it does not."""

        def settled() -> bool:
            return self.process.poll() is not None or condition()

        try:
            wait_until(settled, f"{self.name} is up", timeout)
        except TimeoutError as error:
            raise CommandError(f"{error}\n{self.tail()}") from None
        if self.process.poll() is not None:
            raise CommandError(f"{self.name} ended with status {self.process.returncode}\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def close(self, patience: float = 20.0) -> None:
        """SIGTERM, then SIGKILL for it and its group when it does not end in time."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def mounts_under(root: Path) -> list[str]:
    """The mount points below a directory, the deepest first."""
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{root}/")), key=len, reverse=True)


@contextlib.contextmanager
def short_directory(prefix: str) -> Iterator[Path]:
    """A directory with a path short enough for a unix socket; what is mounted below it goes first."""
    root = Path(tempfile.mkdtemp(prefix=f"shoal-{prefix}-", dir="/tmp"))
    try:
        yield root
    finally:
        for point in mounts_under(root):
            run(["umount", "--lazy", point])
        shutil.rmtree(root)
