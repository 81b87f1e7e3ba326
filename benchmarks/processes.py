"""Registries as processes of their own: start, wait until they answer, look at their memory, stop."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.http import Connection, LoadError

PEER_PROGRAM = "docker-registry"
_START_PATIENCE = 120.0
_STOP_PATIENCE = 60.0
_POLL = 0.001
_THERE = (200, 401, 400)  # the last where plain HTTP is told that TLS is spoken there
_FOREIGN = ("SHOAL_", "REGISTRY_", "AWS_")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: what clients trust, and what a server shows them."""

    authority: Path
    chain: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Server:
    """A registry that answers on 127.0.0.1. `started_in`: seconds from its start to its first answer."""

    name: str
    port: int
    pid: int
    started_in: float

    def pids(self) -> list[int]:
        """The process and all that it started."""
        return with_children(self.pid)

    def peak_memory(self) -> int:
        """The most resident bytes that any one of its processes has had (proc(5), VmHWM)."""
        return max(_peak(pid) for pid in self.pids())


def with_children(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def shoal(data: Path, log: Path, workers: int, environment: Mapping[str, str]) -> Iterator[Server]:
    """Ourselves, with the access log in a file and metrics on, as they are by default; `environment` is added."""
    port = free_port()
    command = [sys.executable, "-m", "registry", "serve", "--data", str(data)]
    command += ["--listen", f"127.0.0.1:{port}", "--workers", str(workers)]
    with _running("Shoal", command, port, log, environment) as server:
        yield server


@contextmanager
def peer(
    name: str, data: Path, log: Path, storage: Mapping[str, object], certificate: Certificate | None = None
) -> Iterator[Server]:
    """docker-registry with its access log in a file, metrics on, and its cache of descriptors in memory.

    `storage`: its section of that name. With a certificate it speaks TLS.
    """
    tls = {"tls": {"certificate": str(certificate.chain), "key": str(certificate.key)}} if certificate else {}
    port, debug_port = free_port(), free_port()
    config = data.with_suffix(".json")  # every JSON text is a YAML text
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "info", "accesslog": {"disabled": False}},
                "storage": {
                    **storage,
                    "delete": {"enabled": True},
                    "cache": {"blobdescriptor": "inmemory"},
                },
                "http": {
                    "addr": f"127.0.0.1:{port}",
                    "debug": {"addr": f"127.0.0.1:{debug_port}", "prometheus": {"enabled": True}},
                    **tls,
                },
            }
        )
    )
    with _running(name, [PEER_PROGRAM, "serve", str(config)], port, log, {}) as server:
        yield server


def peer_name() -> str | None:
    """The peer and its version, or None where it is not installed."""
    if shutil.which(PEER_PROGRAM) is None:
        return None
    told = subprocess.run([PEER_PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    version = told.split()[-1].lstrip("v").partition("+")[0]
    return f"{PEER_PROGRAM} {version}"


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel takes for outgoing connections."""
    for port in random.sample(range(15000, 32000), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LoadError("no free port on 127.0.0.1 between 15000 and 32000")


@contextmanager
def _running(
    name: str, command: Sequence[str], port: int, log: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    with log.open("ab") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches us alone; we stop it ourselves
        )
    try:
        _wait_until_it_answers(name, process, port, started + _START_PATIENCE, log)
        yield Server(name, port, process.pid, time.monotonic() - started)
    finally:
        _stop(process)


def _wait_until_it_answers(name: str, process: subprocess.Popen[bytes], port: int, deadline: float, log: Path) -> None:
    while True:
        try:
            with Connection(port) as connection:
                if connection.request("GET", "/v2/").status in _THERE:
                    return
        except ConnectionError:
            time.sleep(_POLL)
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise LoadError(f"{name} did not start; the end of its output:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
