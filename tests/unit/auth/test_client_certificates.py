"""Who a client is by its certificate."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest

from registry.auth.client_certificates import PeerCertificate, has_ended, identity_of, peer_certificate
from registry.auth.identity import Identity

SPIFFE = "spiffe://example.org/ns/build"


def certificate(*subject: tuple[str, str], alternatives: tuple[tuple[str, str], ...] = ()) -> PeerCertificate:
    return {"subject": tuple((part,) for part in subject), "subjectAltName": alternatives}


@pytest.mark.parametrize(
    ("shown", "identity"),
    [
        (certificate(("commonName", "alice")), Identity("alice")),
        (
            certificate(("organizationalUnitName", "b"), ("commonName", "alice"), ("organizationalUnitName", "a")),
            Identity("alice", ("b", "a")),
        ),
        (
            certificate(("commonName", "alice"), alternatives=(("URI", SPIFFE), ("email", "a@example.org"))),
            Identity("alice"),
        ),
        (certificate(alternatives=(("email", "a@example.org"), ("URI", SPIFFE))), Identity(SPIFFE)),
        (
            certificate(alternatives=(("URI", "https://a"), ("DNS", "a"), ("email", "a@example.org"))),
            Identity("a@example.org"),
        ),
        (certificate(("commonName", "alice"), ("commonName", "root")), None),
        (certificate(alternatives=(("URI", SPIFFE), ("URI", SPIFFE + "er"))), None),
        (certificate(("commonName", " ")), None),
        (certificate(("commonName", "alice\0root")), None),
        (certificate(("organizationalUnitName", "a"), alternatives=(("DNS", "a"),)), None),
        ({}, None),
        (None, None),
    ],
)
def test_the_name_and_the_groups(shown: PeerCertificate | None, identity: Identity | None) -> None:
    assert identity_of(shown) == identity


@pytest.mark.parametrize(("held", "found"), [(None, None), ({}, None), (certificate(), certificate())])
def test_the_certificate_of_a_connection(held: PeerCertificate | None, found: PeerCertificate | None) -> None:
    transport = Mock(spec=asyncio.Transport)
    transport.get_extra_info = {"peercert": held}.get
    assert peer_certificate(transport) == found


def test_a_connection_that_has_gone() -> None:
    assert peer_certificate(None) is None


def test_it_may_end_while_a_connection_is_kept() -> None:
    shown = {**certificate(("commonName", "alice")), "notAfter": "Jan  1 00:00:10 1970 GMT"}
    assert [has_ended(shown, now) for now in (9.0, 10.0, 11.0)] == [False, False, True]
    assert not has_ended(None, 11.0)
