"""Which clients are sent to the object store."""

from ipaddress import ip_network

import pytest

from registry.http.redirects import Mode, Redirects

INSIDE = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("mode", "client", "sent"),
    [
        ("always", "192.0.2.1", True),
        ("always", "10.1.2.3", True),
        ("always", "", True),
        ("never", "192.0.2.1", False),
        ("never", "10.1.2.3", False),
        ("auto", "192.0.2.1", True),
        ("auto", "10.1.2.3", False),
        ("auto", "2001:db8::1", True),
        ("auto", "fd00::1", False),
        ("auto", "::ffff:10.1.2.3", False),
        ("auto", "::ffff:192.0.2.1", True),
        ("auto", "", False),
        ("auto", "somebody", False),
    ],
)
def test_by_mode_and_network(mode: Mode, client: str, sent: bool) -> None:
    assert Redirects(mode, INSIDE, ()).wanted(client) is sent


def test_auto_without_networks_sends_everybody() -> None:
    assert Redirects("auto", (), ()).wanted("10.1.2.3")
