"""Who a client is by the certificate that it showed in the TLS handshake.

The name is the CN of the subject. Where there is none, it is the SPIFFE ID (a URI among the alternative names;
X.509-SVID, section 2), or else the e-mail address (RFC 5280, section 4.2.1.6). More than one of the kind that decides
names nobody: which of them is meant is not ours to guess. Groups are the OUs, in their order.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from registry.auth.identity import Identity

PeerCertificate = Mapping[str, Any]
"""As `ssl.SSLSocket.getpeercert` gives it: subject, subjectAltName and others; empty for none that was verified."""

_SPIFFE = "spiffe://"


def peer_certificate(transport: asyncio.BaseTransport | None) -> PeerCertificate | None:
    """What the client showed and an authority of `tls.client_ca` vouches for; None without TLS or a certificate."""
    return (transport.get_extra_info("peercert") if transport is not None else None) or None


def identity_of(certificate: PeerCertificate | None) -> Identity | None:
    """The name and groups of a verified certificate; None where it has no name that can be used, or is None."""
    if not certificate:
        return None
    subject = list(_subject(certificate))
    alternatives = certificate.get("subjectAltName", ())
    kinds = (
        [value for kind, value in subject if kind == "commonName"],
        [value for kind, value in alternatives if kind == "URI" and value.startswith(_SPIFFE)],
        [value for kind, value in alternatives if kind == "email"],
    )
    names: list[str] = next((found for found in kinds if found), [])
    if len(names) != 1 or not names[0].strip() or not names[0].isprintable():
        return None
    return Identity(names[0], tuple(value for kind, value in subject if kind == "organizationalUnitName"))


def has_ended(certificate: PeerCertificate | None, now: float) -> bool:
    """Whether its time is over since the handshake: a connection may be kept for longer. `now`: since the epoch."""
    until = (certificate or {}).get("notAfter")
    return until is not None and now > ssl.cert_time_to_seconds(until)


def _subject(certificate: PeerCertificate) -> Iterator[tuple[str, str]]:
    for relative_name in certificate.get("subject", ()):
        yield from relative_name
