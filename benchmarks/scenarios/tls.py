"""What TLS leaves of a pull: both contestants with the same certificate, and the same client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import processes
from benchmarks.bench import Bench, standing_side
from benchmarks.load import curl, layers
from benchmarks.load.content import Layer
from benchmarks.places import OnDisk
from benchmarks.plan import MB, size_text
from benchmarks.processes import Certificate, Server
from benchmarks.report import Row


def rows(bench: Bench) -> Iterator[Row]:
    layer = bench.layers.next()
    target = f"/v2/{layers.REPOSITORY}/blobs/{layer.digest}"
    with bench.directory() as scratch, ExitStack() as running:
        certificate = _certificate(scratch / "tls")
        ours = running.enter_context(_ours(bench, scratch / "data", layer, certificate))
        peer = running.enter_context(_peer(bench.peer, scratch / "peer", layer, certificate)) if bench.peer else None
        for clients in (1, 8):

            def rate(server: Server, clients: int = clients) -> float:
                return clients * layer.size / MB / curl.pull(server, target, layer.size, certificate.authority, clients)

            name = f"pull of {size_text(layer.size)} by TLS, {clients} client{'s' if clients > 1 else ''}"
            other = standing_side(peer.name, peer, rate) if peer else None
            yield bench.compare(name, "MB/s", None, standing_side(ours.name, ours, rate), other)


@contextmanager
def _ours(bench: Bench, data: Path, layer: Layer, certificate: Certificate) -> Iterator[Server]:
    with bench.shoal(data) as plain:
        layers.push(plain, [layer], "at once")
    settings = {"SHOAL_TLS__CERT": str(certificate.chain), "SHOAL_TLS__KEY": str(certificate.key)}
    with bench.shoal(data, environment=settings) as server:
        yield server


@contextmanager
def _peer(name: str, data: Path, layer: Layer, certificate: Certificate) -> Iterator[Server]:
    log = data.with_suffix(".log")
    with OnDisk().peers(data) as place:
        with processes.peer(name, data, log, place) as plain:
            layers.push(plain, [layer], "at once")
        with processes.peer(name, data, log, place, certificate) as server:
            yield server


def _certificate(directory: Path) -> Certificate:
    made = [sys.executable, "-m", "registry", "tls", "init", "--dir", str(directory), "--host", "127.0.0.1"]
    subprocess.run(made, check=True, capture_output=True)
    return Certificate(directory / "ca.crt", directory / "server.crt", directory / "server.key")
