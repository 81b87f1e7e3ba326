"""Pulls over HTTPS by curl, whose TLS is OpenSSL's as Shoal's is."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.load.http import LoadError
from benchmarks.processes import Server

PROGRAM = "curl"


def pull(server: Server, target: str, size: int, authority: Path, clients: int) -> float:
    """Pull a blob by so many clients at once and throw it away; returns seconds."""
    command = [PROGRAM, "--silent", "--show-error", "--fail", "--cacert", str(authority), "--output", "/dev/null"]
    command += ["--write-out", "%{size_download}", f"https://127.0.0.1:{server.port}{target}"]
    started = time.monotonic()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(clients)
    ]
    ended = [client.communicate() for client in running]
    seconds = time.monotonic() - started
    for received, said in ended:
        if received != str(size):
            raise LoadError(f"{received or 'no'} bytes came instead of {size}: {said.strip()}")
    return seconds
