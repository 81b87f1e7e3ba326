"""Public keys, and whether one of them has signed a message.

The algorithm follows from the key that the operator chose, never from what a signature says of itself: so there is
nothing to confuse. The choices are cosign's ("Signature Schemes" of its signature specification).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # beyond it a verification takes milliseconds
DIGEST_OF_CURVE: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def read_keys(pem: str) -> tuple[PublicKey, ...]:
    """The public keys of a PEM text, at least one; raises ValueError that says what is wrong with it."""
    blocks = list(_BLOCK.finditer(pem.encode()))
    if not blocks:
        raise ValueError("it holds no PEM block")
    return tuple(_read_key(block[1].decode(), block[0]) for block in blocks)


def _read_key(label: str, block: bytes) -> PublicKey:
    if "PRIVATE" in label:
        raise ValueError("it holds a private key; the registry needs the public one, and nobody else the private one")
    if label not in ("PUBLIC KEY", "RSA PUBLIC KEY"):
        raise ValueError(f"it holds a {label}, where a PUBLIC KEY is expected")
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it holds a public key that cannot be read") from None
    return usable(key)


def usable(key: object) -> PublicKey:
    """The key itself, where it is of a kind and size that signatures are taken from; else raises ValueError."""
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in DIGEST_OF_CURVE:
            return key
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return key
        case ed25519.Ed25519PublicKey():
            return key
    raise ValueError(
        f"a key is ECDSA on P-256, P-384 or P-521, RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, or Ed25519"
    )


def has_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is one of this key over the message.

    ECDSA is over the digest of the curve's size, or over SHA-256, which older releases of cosign took for all curves;
    RSA is PKCS#1 v1.5 or PSS, with SHA-256.
    """
    return any(holds(check) for check in _checks(key, signature, message))


def _checks(key: PublicKey, signature: bytes, message: bytes) -> list[Callable[[], None]]:
    sha256 = hashes.SHA256()
    match key:
        case ed25519.Ed25519PublicKey():
            return [lambda: key.verify(signature, message)]
        case rsa.RSAPublicKey():
            pss = padding.PSS(padding.MGF1(sha256), padding.PSS.AUTO)
            return [
                lambda: key.verify(signature, message, padding.PKCS1v15(), sha256),
                lambda: key.verify(signature, message, pss, sha256),
            ]
        case _:
            own = lambda: key.verify(signature, message, ec.ECDSA(DIGEST_OF_CURVE[key.curve.name]))  # noqa: E731
            old = lambda: key.verify(signature, message, ec.ECDSA(sha256))  # noqa: E731
            return [own] if key.curve.name == "secp256r1" else [own, old]


def holds(check: Callable[[], None]) -> bool:
    """Whether a verification of `cryptography` finds nothing wrong."""
    try:
        check()
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True
