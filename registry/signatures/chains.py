"""Chains of certificates that notation puts into its signatures.

Source: Notary Project, signature specification, "Certificate Requirements". Without a time stamp by somebody else all
certificates of a chain have to be valid when it is looked at. Revocation lists are not asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry.signatures.keys import PublicKey, usable
from registry.signatures.reading import NoSignatureError

MAX_CHAIN = 8
_FOREIGN_USES = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.TIME_STAMPING,
}


def read_certificates(pem: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text, at least one; raises ValueError that says what is wrong with it."""
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        raise ValueError("it holds no certificate that can be read") from None


def read_chain(encoded: Iterable[bytes]) -> tuple[x509.Certificate, ...]:
    """Certificates in DER; raises NoSignatureError."""
    try:
        chain = tuple(x509.load_der_x509_certificate(each) for each in encoded)
    except ValueError:
        raise NoSignatureError("its chain holds no certificates") from None
    if not 0 < len(chain) <= MAX_CHAIN:
        raise NoSignatureError(f"its chain does not have 1 to {MAX_CHAIN} certificates")
    return chain


def check(chain: Sequence[x509.Certificate], trust: Collection[x509.Certificate], now: float) -> float:
    """Until when (seconds since the epoch) a chain, the signer first, is one that is trusted.

    Raises NoSignatureError. Trusted is a chain that passes a certificate of `trust`, as notation has it.
    """
    if not any(certificate in trust for certificate in chain):
        raise NoSignatureError("its chain passes no certificate that is trusted")
    try:
        for issued, issuer in pairwise((*chain, chain[-1])):  # the last one is the root, which issued itself
            issued.verify_directly_issued_by(issuer)
            _check_strength(issued)
        _check_signer(chain[0])
        for below, issuer in enumerate(chain[1:]):
            _check_issuer(issuer, below)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise NoSignatureError(f"its chain is not sound: {error}".rstrip(": ")) from None
    begin = max(certificate.not_valid_before_utc for certificate in chain)
    end = min(certificate.not_valid_after_utc for certificate in chain)
    if not begin <= datetime.fromtimestamp(now, UTC) <= end:
        raise NoSignatureError("a certificate of its chain is not valid now")
    return end.timestamp()


def key_of(chain: Sequence[x509.Certificate]) -> PublicKey:
    """The key that signed; raises NoSignatureError where it is of a kind that is not taken."""
    try:
        return usable(chain[0].public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NoSignatureError(str(error)) from None


def _check_strength(certificate: x509.Certificate) -> None:
    usable(certificate.public_key())
    if isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        raise ValueError("a certificate is signed with SHA-1 or MD5")


def _check_signer(certificate: x509.Certificate) -> None:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    may = usage.value
    others = (may.key_encipherment, may.data_encipherment, may.key_agreement, may.key_cert_sign, may.crl_sign)
    if not usage.critical or not may.digital_signature or any(others):
        raise ValueError("the signer's certificate is not for signatures alone")
    extensions = certificate.extensions
    for found in extensions:
        if isinstance(found.value, x509.BasicConstraints) and found.value.ca:
            raise ValueError("the signer's certificate is one of an authority")
        if isinstance(found.value, x509.ExtendedKeyUsage) and _FOREIGN_USES & set(found.value):
            raise ValueError("the signer's certificate is for other uses than signing code")


def _check_issuer(certificate: x509.Certificate, below: int) -> None:
    """`below`: how many authorities stand between this one and the signer."""
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    if not (constraints.critical and constraints.value.ca and usage.critical and usage.value.key_cert_sign):
        raise ValueError("an issuer in it is no authority")
    if constraints.value.path_length is not None and below > constraints.value.path_length:
        raise ValueError("it is longer than one of its authorities allows")
