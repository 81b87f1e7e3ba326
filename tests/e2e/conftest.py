"""Daemons and images that the client tests share: each is started once a run, when first asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import containerd, dockerd, podman
from tests.harness.client import RegistryClient
from tests.harness.containerd import Containerd
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.dockerd import Dockerd
from tests.harness.podman import Podman
from tests.harness.process import run
from tests.harness.server import ShoalServer

GREETER = """
#include <stdio.h>
int main(void) {
    FILE *file = fopen("/message", "r");
    if (!file) return 1;
    for (int c; (c = fgetc(file)) != EOF;) putchar(c);
    return 0;
}
"""


@pytest.fixture(scope="session")
def docker() -> Iterator[Dockerd]:
    with dockerd.start() as running:
        yield running


@pytest.fixture(scope="session")
def containers() -> Iterator[Podman]:
    """podman, buildah and skopeo."""
    with podman.start() as storage:
        yield storage


@pytest.fixture(scope="session")
def ctr() -> Iterator[Containerd]:
    with containerd.start() as running:
        yield running


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShoalServer]:
    """One server with two workers for the whole run."""
    with ShoalServer(tmp_path_factory.mktemp("two-workers") / "data", workers=2) as server:
        yield server
    assert not server.complaints()


@pytest.fixture(params=["one", "two"])
def registry(request: pytest.FixtureRequest) -> ShoalServer:
    """The shared server, once with one worker and once with two."""
    name = "shared_shoal" if request.param == "one" else "two_workers"
    server: ShoalServer = request.getfixturevalue(name)
    return server


@pytest.fixture
def client(shared_shoal: ShoalServer) -> Iterator[RegistryClient]:
    with RegistryClient(shared_shoal.url) as plain:
        yield plain


@pytest.fixture
def proxy(shared_shoal: ShoalServer) -> Iterator[CuttingProxy]:
    """In front of the shared server; counts bytes, cuts and stalls."""
    with CuttingProxy(shared_shoal.port) as running:
        yield running


@pytest.fixture(scope="session")
def greeter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that prints the file /message."""
    folder = tmp_path_factory.mktemp("greeter")
    source = folder / "greeter.c"
    source.write_text(GREETER)
    run(["gcc", "-static", "-Os", "-s", "-o", folder / "greeter", source])
    return folder / "greeter"


MakeContext = Callable[..., Path]


@pytest.fixture
def make_context(tmp_path: Path, greeter: Path) -> MakeContext:
    """Makes a build directory: FROM scratch, the greeter, a message, and more files, each a layer of its own."""
    numbers = itertools.count()

    def make(message: str, files: dict[str, bytes] | None = None) -> Path:
        folder = tmp_path / f"context{next(numbers)}"
        folder.mkdir()
        (folder / "greeter").write_bytes(greeter.read_bytes())
        (folder / "greeter").chmod(0o755)
        (folder / "message").write_text(message)
        lines = ["FROM scratch", "COPY greeter /greeter", "COPY message /message"]
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
            lines.append(f"COPY {name} /{name}")
        (folder / "Dockerfile").write_text("\n".join([*lines, 'CMD ["/greeter"]', ""]))
        return folder

    return make
