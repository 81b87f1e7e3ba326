"""A certificate authority for a test, made by openssl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.harness.process import run

_KIND = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: the authority's certificate, and a server's for 127.0.0.1 with its key."""

    ca: Path
    certificate: Path
    key: Path


def made(directory: Path) -> Certificates:
    """Files of a new authority in a directory, which is made."""
    directory.mkdir()
    ca, ca_key, certificate, key = (directory / name for name in ("ca.pem", "ca.key", "server.pem", "server.key"))
    run(["openssl", "req", "-x509", *_KIND, "-keyout", ca_key, "-out", ca, "-subj", "/CN=an authority of the tests"])
    signed = ("-CA", ca, "-CAkey", ca_key, "-addext", "subjectAltName=IP:127.0.0.1")
    run(["openssl", "req", "-x509", *_KIND, *signed, "-keyout", key, "-out", certificate, "-subj", "/CN=a store"])
    return Certificates(ca, certificate, key)
