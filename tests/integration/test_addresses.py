"""A node on several addresses."""

from __future__ import annotations

import socket

import pytest

from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.server import free_port


def v6_works() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("workers", [1, 2])
def test_every_address_is_served(start_shoal: StartShoal, workers: int) -> None:
    item = small_image()
    others = [f"127.0.0.2:{free_port()}", f"127.0.0.3:{free_port()}"]
    server = start_shoal(workers=workers, args=["--listen", others[0], "--listen", others[1]])
    with RegistryClient(server.url) as client:
        client.push_image("several", item, "1")
    for host in others:
        with RegistryClient(f"http://{host}") as client:
            client.request("GET", "/healthz", want=200)
            client.check_image("several", item, "1")
    greeting = server.printed().splitlines()[0]
    assert greeting == "Shoal listens on  " + ", ".join(f"http://{host}" for host in (server.host, *others))
    assert server.stop() == 0
    for host, port in (address.split(":") for address in (server.host, *others)):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)


def test_one_that_is_taken_is_named(start_shoal: StartShoal) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=f"shoal: port {port} of 127.0.0.2 is in use"):
            start_shoal(args=["--listen", f"127.0.0.2:{port}"])


@pytest.mark.skipif(not v6_works(), reason="this machine has no IPv6")
def test_all_addresses_of_both_families_on_one_port(start_shoal: StartShoal) -> None:
    port = free_port()
    listen = ["--listen", f"127.0.0.1:{port}", "--listen", f"[::]:{port}", "--allow-anonymous"]
    start_shoal(args=listen)
    for host in ("127.0.0.1", "[::1]"):
        with RegistryClient(f"http://{host}:{port}") as client:
            client.request("GET", "/healthz", want=200)
