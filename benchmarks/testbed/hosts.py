"""Hosts: network namespaces of their own, which go when whoever made them goes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_PATIENCE = 10.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class TestbedError(Exception):
    """This machine cannot have hosts of its own, or a program that makes them failed. The text is for people."""

    __test__ = False


def need_root() -> None:
    """Raises TestbedError where no namespaces can be made."""
    if os.geteuid() != 0:
        raise TestbedError("network namespaces need root: run it as root, or name a master and slaves that run already")
    if not Path("/dev/net/tun").exists():
        raise TestbedError("links need /dev/net/tun, which this machine does not have: modprobe tun")


def enter(namespace: str | Path) -> None:
    """Moves the calling thread into a network namespace. Raises OSError."""
    with Path(namespace).open("rb") as file:
        if _LIBC.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"{namespace} cannot be entered")


def call(*words: str) -> None:
    """Runs a program of the system. Raises TestbedError with what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TestbedError(f"`{' '.join(words)}`: {error}") from error
    if done.returncode != 0:
        raise TestbedError(f"`{' '.join(words)}`: {done.stderr.strip()}")


class Host:
    """One namespace. A process that waits for the end of its input holds it, so it goes with us however we end."""

    def __init__(self, name: str) -> None:
        """Raises TestbedError where it cannot be made."""
        need_root()
        self.name = name
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.namespace = f"/proc/{self._holder.pid}/ns/net"
        try:
            self._wait()
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        deadline, ours = time.monotonic() + _PATIENCE, Path("/proc/self/ns/net").readlink()
        while True:
            if self._holder.poll() is not None or time.monotonic() > deadline:
                raise TestbedError("this machine makes no network namespaces (unshare --net)")
            if Path(self.namespace).readlink() != ours:
                return
            time.sleep(0.005)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdin is not None:
            self._holder.stdin.close()

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """The same command inside; it is killed where the thread that starts it ends first."""
        inside = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.namespace}"]
        return [*inside, *map(str, words)]

    def run(self, *words: str) -> None:
        """Runs a program of the system inside. Raises TestbedError."""
        call(*self.command(words))

    @property
    def pid(self) -> int:
        """Of the process that holds the namespace."""
        return self._holder.pid

    def tune(self, setting: str, value: str) -> None:
        """Sets /proc/sys/net/`setting` inside. Raises TestbedError where the kernel does not have that."""
        path = Path("/proc/sys/net", setting)
        with self.entered():
            try:
                path.write_text(value)
            except OSError as error:
                raise TestbedError(f"{path} cannot be {value!r}: {error.strerror}") from error

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is inside: what it opens in the block (sockets, processes) stays there."""
        outside = f"/proc/self/task/{_thread()}/ns/net"
        with Path(outside).open("rb") as before:
            enter(self.namespace)
            try:
                yield
            finally:
                if _LIBC.setns(before.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "the way back out of a namespace is lost")


def _thread() -> int:
    return int(_LIBC.gettid())
