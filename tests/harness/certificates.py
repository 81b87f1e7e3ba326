"""Certificate authorities for tests, made by openssl."""

from __future__ import annotations

import secrets
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


class Authority:
    """A certificate authority in a directory, which is made; `ca` is its certificate."""

    def __init__(self, directory: Path, name: str = "an authority of the tests") -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._key = directory / "ca.key"
        run(["openssl", "req", "-x509", *_KIND, "-keyout", self._key, "-out", self.ca, "-subj", f"/CN={name}"])

    def server(self, name: str, *, days: int = 2, to: Path | None = None) -> Certificates:
        """For localhost and 127.0.0.0/29; `days` below zero: it has expired. `to` is where the files go."""
        hosts = ",".join(["DNS:localhost", *(f"IP:127.0.0.{n}" for n in range(1, 8))])
        return self._issue(name, f"/CN={name}", f"subjectAltName={hosts}", days, to)

    def client(self, name: str, subject: str, alternative: str = "") -> Certificates:
        """`subject` as openssl takes it: /CN=alice/OU=builders; `alternative` such as URI:spiffe://a/b."""
        return self._issue(name, subject, f"subjectAltName={alternative}" if alternative else "", 2, None)

    def _issue(self, name: str, subject: str, extension: str, days: int, to: Path | None) -> Certificates:
        directory = to or self.directory
        directory.mkdir(exist_ok=True)
        certificate, key, request = (directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
        kind = [word for word in _KIND if word not in ("-days", "2")]
        run(["openssl", "req", "-new", *kind, "-keyout", key, "-out", request, "-subj", subject])
        extensions = directory / f"{name}.ext"
        extensions.write_text(f"basicConstraints=CA:FALSE\n{extension}\n")
        signing: list[str | Path] = [
            "openssl",
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.ca,
            "-CAkey",
            self._key,
            "-set_serial",
        ]
        signing += [
            str(secrets.randbits(64)),
            "-days",
            str(days),
            "-extfile",
            str(extensions),
            "-out",
            str(certificate),
        ]
        run(signing)
        return Certificates(self.ca, certificate, key)


def exchange(new: Certificates, old: Certificates) -> None:
    """Puts the new certificate and key in the place of the old ones, each at a stroke."""
    for source, target in ((new.certificate, old.certificate), (new.key, old.key)):
        beside = target.with_suffix(".new")
        beside.write_bytes(source.read_bytes())
        beside.replace(target)
