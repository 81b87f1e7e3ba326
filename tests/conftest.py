"""Options, markers and fixtures that all tests share.

- `slow`: takes long; such tests are left out of the run unless --slow is given.
- `require(program, ...)`: the test starts these programs. Where one is missing the test is left out
  of the run and one line at the end says so; with CI=true a missing Debian package is a failure.
  The word "root" asks for the rights of root, "python:NAME" for a module, "postgres" for a server of it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.database import postgres_programs
from tests.faults import steps
from tests.harness.ceph import CephServer
from tests.harness.postgres import PostgresServer
from tests.harness.s3 import S3Server, SeaweedServer
from tests.harness.server import ShoalServer

DEBIAN_PACKAGES = {
    "buildah": "buildah",
    "containerd": "containerd",
    "ctr": "containerd",
    "curl": "curl",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "faketime": "faketime",
    "fusermount3": "fuse3",
    "gcc": "gcc libc6-dev",
    "ldapwhoami": "ldap-utils",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "podman": "podman",
    "postgres": "postgresql",
    "redis-server": "redis-server",
    "runc": "runc",
    "skopeo": "skopeo",
    "slapd": "slapd",
    "strace": "strace",
    "tinyproxy": "tinyproxy-bin",
    "umoci": "umoci",
    "wrk": "wrk",
}
REQUIRE = "require(program, ...): the programs that the test starts; see tests/conftest.py"
STORES: dict[str, type[SeaweedServer | CephServer]] = {"seaweedfs": SeaweedServer, "ceph": CephServer}
LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption("--store", choices=sorted(STORES), default="seaweedfs", help="the S3 server of the tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", REQUIRE)
    config.stash[LEFT_OUT] = {}
    if config.getoption("--store") == "ceph" and (missing := CephServer.missing()):
        raise pytest.UsageError(f"--store ceph needs {', '.join(missing)}: sudo tests/setup ceph")


def missing_programs(item: pytest.Item) -> list[str]:
    """What the test requires and this machine has not, in the order it was named."""
    names = [str(name) for mark in item.iter_markers("require") for name in mark.args]
    return [name for name in dict.fromkeys(names) if not present(name)]


def present(name: str) -> bool:
    if name == "root":
        return os.geteuid() == 0
    if name == "postgres":
        return postgres_programs() is not None
    if name.startswith("python:"):
        return importlib.util.find_spec(name.removeprefix("python:")) is not None
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is not None


def must_run(missing: list[str]) -> bool:
    """In CI only programs that Debian does not have may be missing."""
    return os.environ.get("CI") == "true" and all(advice(name) for name in missing)


def advice(name: str) -> str:
    """What to do where a program is missing; empty where there is no package of it."""
    if name == "root":
        return "run the tests as root"
    if name.startswith("python:"):
        return f"install {name.removeprefix('python:')} from PyPI"
    return f"install the Debian package {DEBIAN_PACKAGES[name]}" if name in DEBIAN_PACKAGES else ""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    left_out = config.stash[LEFT_OUT]
    for item in items:
        missing = missing_programs(item)
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            dropped.append(item)
        elif missing and not must_run(missing):
            dropped.append(item)
            for name in missing:
                left_out[name] = left_out.get(name, 0) + 1
        else:
            kept.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = missing_programs(item)
    if missing:
        lines = "\n".join(f"{name} is missing: {advice(name)}" for name in missing)
        pytest.fail(f"with CI=true this test has to run\n{lines}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash[LEFT_OUT]
    if left_out:
        listing = ", ".join(f"{name} ({count} tests)" for name, count in sorted(left_out.items()))
        terminalreporter.write_line(f"left out, because it is not here: {listing}", yellow=True)


StartShoal = Callable[..., ShoalServer]


@pytest.fixture
def start_shoal(tmp_path: Path) -> Iterator[StartShoal]:
    """Starts servers with the arguments of ShoalServer but `data`; all end with the test."""
    with ExitStack() as running:
        count = 0

        def start(**options: object) -> ShoalServer:
            nonlocal count
            count += 1
            server = ShoalServer(tmp_path / f"shoal{count}", **options)  # type: ignore[arg-type]
            running.callback(server.close)
            return server.start()

        yield start


@pytest.fixture
def shoal(start_shoal: StartShoal) -> ShoalServer:
    """A fresh server with the default settings, for this test alone."""
    return start_shoal()


@pytest.fixture(scope="session")
def shared_shoal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShoalServer]:
    """One server for the whole run: use repository names of your own. It must not log errors."""
    with ShoalServer(tmp_path_factory.mktemp("shared") / "data") as server:
        yield server
    assert not server.complaints()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One Postgres for the whole run: make databases of your own. Tests that stop or kill one start their own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def store_class(request: pytest.FixtureRequest) -> type[SeaweedServer | CephServer]:
    """The S3 server that --store names, for tests that start one of their own."""
    return STORES[request.config.getoption("--store")]


@pytest.fixture(scope="session")
def s3_server(
    store_class: type[SeaweedServer | CephServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Server]:
    """An S3 server for all tests; each makes buckets of its own."""
    server = store_class(tmp_path_factory.mktemp("s3") / "store").start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def steps_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What kills a program between two steps, or lets one fail."""
    return steps.build(tmp_path_factory.mktemp("steps"))
