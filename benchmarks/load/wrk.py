"""Load by wrk: as many GETs of one path as the registry can answer."""

from __future__ import annotations

import re
import subprocess

from benchmarks.load.content import ACCEPT
from benchmarks.load.http import LoadError
from benchmarks.processes import Server

PROGRAM = "wrk"

_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_TROUBLE = re.compile(r"^\s*(Non-2xx or 3xx responses: .*|Socket errors: .*)$", re.MULTILINE)


def get_rate(server: Server, target: str, connections: int, seconds: int) -> float:
    """GETs a second over `connections` kept connections."""
    command = [PROGRAM, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += ["--header", f"Accept: {ACCEPT}", f"http://127.0.0.1:{server.port}{target}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadError(f"wrk failed: {done.stderr or done.stdout}")
    return parse_rate(done.stdout)


def parse_rate(output: str) -> float:
    """Requests a second; raises LoadError where some were not answered well: those are quick and count for nothing."""
    trouble = _TROUBLE.search(output)
    if trouble:
        raise LoadError(f"not every request was answered: {trouble[1]}")
    rate = _RATE.search(output)
    if rate is None:
        raise LoadError(f"wrk printed no rate:\n{output}")
    return float(rate[1])
