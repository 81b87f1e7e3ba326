"""What the tests' own way to start a server does when its port was taken after it was found free."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.harness import server
from tests.harness.client import RegistryClient
from tests.harness.server import ServerError, ShoalServer


def test_another_port_is_tried(shoal: ShoalServer, start_shoal: StartShoal, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = iter([shoal.port, shoal.port, server.free_port()])
    monkeypatch.setattr(server, "free_port", lambda: next(ports))
    other = start_shoal()
    assert other.port != shoal.port
    assert other.process.poll() is None
    assert not other.complaints()
    with RegistryClient(other.url) as client:
        client.request("GET", "/readyz", want=200)


def test_a_port_that_was_named_is_kept(shoal: ShoalServer, start_shoal: StartShoal) -> None:
    with pytest.raises(ServerError, match="is in use"):
        start_shoal(port=shoal.port)


def test_there_is_a_bound(shoal: ShoalServer, start_shoal: StartShoal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "free_port", lambda: shoal.port)
    with pytest.raises(ServerError, match="is in use"):
        start_shoal()


def test_other_failures_are_no_reason(shoal: ShoalServer) -> None:
    second = ShoalServer(shoal.data)
    with pytest.raises(ServerError, match="in use by another shoal"):
        second.start()


def test_a_port_that_clients_know_is_kept(tmp_path: Path) -> None:
    with ShoalServer(tmp_path / "data") as other:
        other.stop()
        known = other.port
        with ShoalServer(tmp_path / "thief", port=known), pytest.raises(ServerError, match="is in use"):
            other.start()
        assert other.port == known
