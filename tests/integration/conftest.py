"""Clients of servers that live for the whole run; each test has a repository of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import StartShoal
from tests.harness.browser_site import Site, standing_site
from tests.harness.client import RegistryClient
from tests.harness.server import ShoalServer

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShoalServer]:
    """A server with two workers. It must not log errors."""
    with ShoalServer(tmp_path_factory.mktemp("two-workers") / "data", workers=2) as server:
        yield server
    assert not server.complaints()


@pytest.fixture
def client(shared_shoal: ShoalServer) -> Iterator[RegistryClient]:
    """Of a server with one worker."""
    with RegistryClient(shared_shoal.url) as client:
        yield client


@pytest.fixture(params=["one worker", "two workers"])
def either(request: pytest.FixtureRequest, shared_shoal: ShoalServer) -> Iterator[RegistryClient]:
    """Of a server with one worker, then of one with two, where each request may meet another one."""
    server = shared_shoal if request.param == "one worker" else request.getfixturevalue("two_workers")
    with RegistryClient(server.url) as client:
        if request.param == "two workers":
            client.session.headers["Connection"] = "close"
        yield client


@pytest.fixture
def repo() -> str:
    """A repository name that no other test has."""
    return f"integration/test-{next(_NUMBERS)}"


Slave = Callable[..., ShoalServer]


@pytest.fixture
def start_slave(start_shoal: StartShoal) -> Slave:
    """Starts a slave of what answers at a URL; `more` are settings of [replication].

    Nothing is read through unless `more` says so: that would hide what a slave shows and has not got.
    """

    def start(url: str, **options: Any) -> ShoalServer:
        slave = {"role": "slave", "master": url, "read_through": "off", **options.pop("more", {})}
        return start_shoal(settings={"replication": slave}, **options)

    return start


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing_site(tmp_path_factory.mktemp("browsers") / "data") as site:
        yield site


@pytest.fixture
def site(standing: Site) -> Site:
    """A registry whose people log in with a browser; its provider says what it usually says."""
    standing.as_usual()
    return standing
