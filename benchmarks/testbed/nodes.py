"""Our own server on a host: a master, a slave of one, or a registry that a peer copies to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import with_children
from benchmarks.testbed.client import Registry, wait_until_it_answers
from benchmarks.testbed.hosts import Host, TestbedError

PORT = 5000
_STOP_PATIENCE = 60.0
_FOREIGN = ("SHOAL_", "REGISTRY_", "AWS_")
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Node:
    """A server that runs. `data` is its directory."""

    registry: Registry
    data: Path
    pid: int

    def memory(self) -> int:
        """Bytes that its processes have for themselves now (proc(5), RssAnon)."""
        lines = [
            line for pid in with_children(self.pid) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        ]
        return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@contextmanager
def node(
    host: Host,
    data: Path,
    arguments: Sequence[str] = (),
    port: int = PORT,
    processors: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Node]:
    """A server on all addresses of a host until the block ends. `processors`: on these alone.

    Its log is beside its data, in a file of the same name with `.log`. Raises TestbedError where it does not start.
    """
    command = [sys.executable, "-m", "registry", "serve", "--data", str(data), "--listen", f"0.0.0.0:{port}"]
    command += ["--allow-anonymous", *arguments]
    if processors:
        command = ["taskset", "--cpu-list", ",".join(map(str, processors)), *command]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    log = data.with_name(f"{data.name}.log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            host.command(command),
            cwd=_ROOT,
            env={**inherited, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop it ourselves
        )
    registry = Registry(f"http://127.0.0.1:{port}", host)
    try:
        if not wait_until_it_answers(registry, lambda: process.poll() is None):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise TestbedError(f"the server at {host.name} did not start; the end of its output:\n{tail}")
        yield Node(registry, data, process.pid)
    finally:
        _stop(process)


def slave_of(master: str, port: int = PORT) -> list[str]:
    """Arguments of a slave whose master is at an address."""
    return ["--role", "slave", "--master", f"http://{master}:{port}"]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
