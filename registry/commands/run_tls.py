"""A private certificate authority in a directory, and the certificates that it signs: ECDSA over P-256.

    ca.crt ca.key          the authority; its key signs, and no server needs it
    server.crt server.key  for the settings
    NAME.crt NAME.key      a client's

Profiles follow RFC 5280, section 4.2; a server's certificate lives no longer than 397 days, as clients of some makers
take no longer one.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry.errors import StartupError

_CA_LIFE = timedelta(days=3650)
_LIFE = timedelta(days=397, seconds=-1)  # the last second is part of it (RFC 5280, section 4.1.2.5)
_CLOCKS_DIFFER = timedelta(hours=1)  # a certificate begins that much earlier
_HOST = re.compile(
    r"(?:\*\.)?(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TAKEN = frozenset({"ca", "server"})
_MODE = {".key": 0o600, ".crt": 0o644}


@dataclass(frozen=True, slots=True)
class Issued:
    """Files that were written, and the end of their certificate's life."""

    ca: Path
    certificate: Path
    key: Path
    valid_until: datetime
    hosts: tuple[str, ...] = ()
    new_ca: bool = False


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def own_hosts() -> list[str]:
    """The names and addresses under which this machine is reached for sure."""
    names = [socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", "::1"]
    return list(dict.fromkeys(name for name in names if _HOST.fullmatch(name) or _is_address(name)))


def init(directory: Path, hosts: Sequence[str], *, force: bool) -> Issued:
    """Make the authority, if there is none yet, and a server's certificate.

    With `force` a server's certificate that is there is replaced by a new one of the same authority, for the same hosts
    unless others are named. Raises StartupError.
    """
    for host in hosts:
        if not _is_address(host) and not _HOST.fullmatch(host):
            raise StartupError(f"--host: got {host!r}, expected the name or address of a machine, without a port")
    certificate, key = directory / "server.crt", directory / "server.key"
    is_there = certificate.exists() or key.exists()
    if is_there and not force:
        raise StartupError(f"{certificate} is there; --force renews it with the same authority")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"{directory} cannot be made: {error.strerror}") from None
    authority, is_new = _authority(directory)
    names = tuple(dict.fromkeys(hosts or _hosts_of(certificate) or own_hosts()))
    alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    until = _issue(authority, subject, ExtendedKeyUsageOID.SERVER_AUTH, [alternative], certificate, key)
    return Issued(directory / "ca.crt", certificate, key, until, names, is_new)


def client(directory: Path, name: str, groups: Iterable[str], *, force: bool) -> Issued:
    """Make a certificate that a client can show: its CN is `name`, its OUs are `groups`. Raises StartupError."""
    if not _FILE_NAME.fullmatch(name) or name in _TAKEN:
        raise StartupError(
            f"NAME: got {name!r}, expected letters, digits and . _ @ - (64 at most), and neither ca nor server"
        )
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    if (certificate.exists() or key.exists()) and not force:
        raise StartupError(f"{certificate} is there; --force replaces it")
    if not (directory / "ca.key").exists():
        raise StartupError(f"{directory} has no authority; shoal tls init makes one")
    authority, _ = _authority(directory)
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, group) for group in groups]
    subject = x509.Name([*units, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    until = _issue(authority, subject, ExtendedKeyUsageOID.CLIENT_AUTH, [], certificate, key)
    return Issued(directory / "ca.crt", certificate, key, until)


def _authority(directory: Path) -> tuple[_Authority, bool]:
    """The authority of a directory, and whether it was made just now. One that is there is never replaced."""
    certificate, key = directory / "ca.crt", directory / "ca.key"
    if not certificate.exists() and not key.exists():
        return _new_authority(certificate, key), True
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        raise StartupError(f"{error.filename} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise StartupError(f"{certificate} and {key} are no certificate and key in PEM without a password") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != found.public_key():
        raise StartupError(f"{key} does not fit the certificate {certificate}")
    if found.not_valid_after_utc <= datetime.now(UTC):
        raise StartupError(f"{certificate} has expired; name another directory with --dir for a new authority")
    return _Authority(found, private), False


def _new_authority(certificate: Path, key: Path) -> _Authority:
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    title = f"Shoal CA {socket.gethostname()[:40]} {now:%Y-%m-%d}"  # clients that trust several tell them by this
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    built = (
        _builder(name, name, private, now - _CLOCKS_DIFFER, now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(private, hashes.SHA256())
    )
    _write(key, _pem(private))
    _write(certificate, built.public_bytes(Encoding.PEM))
    return _Authority(built, private)


def _issue(
    authority: _Authority,
    subject: x509.Name,
    purpose: x509.ObjectIdentifier,
    more: Sequence[x509.ExtensionType],
    certificate: Path,
    key: Path,
) -> datetime:
    private = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.now(UTC) - _CLOCKS_DIFFER
    until = min(begin + _LIFE, authority.certificate.not_valid_after_utc)
    signer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(subject, authority.certificate.subject, private, begin, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False)
    )
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    _write(key, _pem(private))
    _write(certificate, builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return until


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _hosts_of(certificate: Path) -> list[str]:
    """For whom a certificate was made; empty where it is not there or cannot be read."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return []
    return [str(name.value) for name in names]


def _general_name(host: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(host)) if _is_address(host) else x509.DNSName(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(file: Path, content: bytes) -> None:
    """Put the file in its place at a stroke; nobody else can read a key, not even while it is written."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE[file.suffix]), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    except OSError as error:
        raise StartupError(f"{file} cannot be written: {error.strerror}") from None
