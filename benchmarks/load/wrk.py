"""Load by wrk: as many GETs of one path as the registry can answer."""

from __future__ import annotations

import re
import subprocess

from benchmarks.load.content import ACCEPT
from benchmarks.load.http import LoadError
from benchmarks.processes import Server

PROGRAM = "wrk"

_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_HUNDREDTH = re.compile(r"^\s+99%\s+([\d.]+)(us|ms|s|m)$", re.MULTILINE)
_TROUBLE = re.compile(r"^\s*(Non-2xx or 3xx responses: .*|Socket errors: .*)$", re.MULTILINE)


def get_rate(server: Server, target: str, connections: int, seconds: int, authorization: str = "") -> float:
    """GETs a second over `connections` kept connections; `authorization`: the header of that name."""
    return parse_rate(_run(server, target, connections, seconds, authorization))


def slowest_hundredth(server: Server, target: str, connections: int, seconds: int, authorization: str = "") -> float:
    """Milliseconds within which 99 of 100 such GETs are answered."""
    output = _run(server, target, connections, seconds, authorization)
    parse_rate(output)
    return parse_slowest_hundredth(output)


def _run(server: Server, target: str, connections: int, seconds: int, authorization: str) -> str:
    command = [PROGRAM, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--latency"]
    command += ["--header", f"Accept: {ACCEPT}"]
    command += ["--header", f"Authorization: {authorization}"] if authorization else []
    command.append(f"http://127.0.0.1:{server.port}{target}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadError(f"wrk failed: {done.stderr or done.stdout}")
    return done.stdout


def parse_slowest_hundredth(output: str) -> float:
    found = _HUNDREDTH.search(output)
    if found is None:
        raise LoadError(f"wrk printed no percentiles:\n{output}")
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[found[2]]


def parse_rate(output: str) -> float:
    """Requests a second; raises LoadError where some were not answered well: those are quick and count for nothing."""
    trouble = _TROUBLE.search(output)
    if trouble:
        raise LoadError(f"not every request was answered: {trouble[1]}")
    rate = _RATE.search(output)
    if rate is None:
        raise LoadError(f"wrk printed no rate:\n{output}")
    return float(rate[1])
