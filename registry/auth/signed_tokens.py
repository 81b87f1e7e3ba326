"""JSON web tokens of others (RFC 7515, 7519), verified with keys that somebody configured; no I/O.

What a token says about itself (`alg`, `kid`) only chooses among those keys and their algorithms. Where it says that
its key could be had (`jku`, `x5u`, `jwk`, `x5c`) is not looked at: whoever forges a token writes that as well.
RFC 8725 is the list of what went wrong elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MOST_BYTES = 16 * 1024  # of a token; those of CI systems have about 2 KiB
LEEWAY = 60  # seconds by which clocks may differ
_MOST_KEYS = 100
_LEAST_RSA_BITS = 2048  # RFC 7518, section 3.3
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EC = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = _RSA | set(_EC.values()) | {"EdDSA"}
"""All that can be verified by a public key. `none` and the HS family, which a public key would be a password for,
are not among them."""

Public = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey


class TokenRefusedError(Exception):
    """Why a token does not count: one line, without the token."""


class UnknownKeyError(TokenRefusedError):
    """No key has the name that the token asks for; there may be newer keys."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, the names (`kid`) it goes by, and the algorithms it may be used with: never all of them."""

    key: Public
    names: frozenset[str] = frozenset()
    algorithms: frozenset[str] = field(default=frozenset())


def verifying_key(key: object, names: Iterable[str] = (), algorithm: str | None = None) -> VerifyingKey | None:
    """A key with what its kind can do, or `algorithm` alone; None where it can do nothing safely."""
    fitting: frozenset[str] = frozenset()
    if isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        fitting = _RSA
    elif isinstance(key, EllipticCurvePublicKey):
        fitting = frozenset({_EC[key.curve.name]} if key.curve.name in _EC else ())
    elif isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        fitting = frozenset({"EdDSA"})
    if algorithm is not None:
        fitting &= {"EdDSA" if algorithm in ("Ed25519", "Ed448") else algorithm}
    if not fitting:
        return None
    assert isinstance(key, Public)
    return VerifyingKey(key, frozenset(names), fitting)


def keys_of(document: object) -> tuple[VerifyingKey, ...]:
    """The usable keys of a JWK Set (RFC 7517, section 5); the others in it are passed over, as that section says.

    Raises TokenRefusedError where it is no such set.
    """
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise TokenRefusedError("what should be a set of keys is none")
    keys = [_key_of(entry) for entry in listed if isinstance(entry, Mapping)]
    return tuple(key for key in keys if key is not None)


def _key_of(entry: Mapping[str, Any]) -> VerifyingKey | None:
    """None as well for a private key: who publishes that has lost it."""
    if entry.get("kty") not in ("RSA", "EC", "OKP") or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    kid, algorithm = entry.get("kid"), entry.get("alg")
    try:
        # its own "alg" would choose how the numbers are read, so it is looked at by verifying_key alone
        key = jwt.PyJWK({name: value for name, value in entry.items() if name != "alg"}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    names = {kid} if isinstance(kid, str) else {thumbprint(entry)}
    return verifying_key(key, names, algorithm if isinstance(algorithm, str) else None)


def header_of(token: str) -> tuple[str, str | None]:
    """`alg` and `kid`, which nobody has signed yet. Raises TokenRefusedError."""
    if len(token) > MOST_BYTES:
        raise TokenRefusedError(f"it has more than {MOST_BYTES} characters")
    try:
        header = jwt.get_unverified_header(token)  # which refuses extensions it does not know (RFC 7515, 4.1.11)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenRefusedError("it is no JSON web token") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefusedError("its algorithm is not one of those that count")
    return algorithm, kid if isinstance(kid, str) else None


def issuer_of(token: str) -> str | None:
    """What it says of where it comes from, which nobody has verified: good for choosing the verifier, and no more."""
    if len(token) > MOST_BYTES or token.count(".") != 2:
        return None
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


def candidates(keys: Sequence[VerifyingKey], token: str, *, strict: bool) -> list[VerifyingKey]:
    """The keys that a token may be signed with; those that it names first, and, if `strict`, only those.

    Raises TokenRefusedError, UnknownKeyError.
    """
    algorithm, kid = header_of(token)
    fitting = [key for key in keys if algorithm in key.algorithms]
    named = [key for key in fitting if kid is not None and kid in key.names]
    if strict and kid is not None and not named:
        raise UnknownKeyError("its key is not known")
    if not fitting:
        raise UnknownKeyError("no key is of its kind")
    return named or fitting


def verified(token: str, keys: Sequence[VerifyingKey], issuer: str, audience: str) -> dict[str, Any]:
    """The claims of a token that one of `keys` has signed, for this audience, and that is valid now.

    `exp` has to be there; `nbf` and `iat` count where they are. Raises TokenRefusedError.
    """
    algorithm, _ = header_of(token)
    said = "no key has signed it"
    for key in keys:
        if algorithm not in key.algorithms:
            continue
        try:
            return jwt.decode(
                token,
                key=key.key,
                algorithms=[algorithm],
                issuer=issuer,
                audience=audience,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenRefusedError(_reason(error)) from None
    raise TokenRefusedError(said)


def _reason(error: Exception) -> str:
    kinds = {
        jwt.ExpiredSignatureError: "it has expired",
        jwt.ImmatureSignatureError: "it is not valid yet",
        jwt.InvalidAudienceError: "it is for somebody else (aud)",
        jwt.InvalidIssuerError: "it is from somebody else (iss)",
        jwt.MissingRequiredClaimError: "one of exp, iss and aud is missing",
    }
    return next((said for kind, said in kinds.items() if isinstance(error, kind)), "its claims are malformed")


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The name of a key by its numbers (RFC 7638)."""
    members = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
    canonical = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def thumbprint_of(key: Public) -> str:
    """The same of a key that comes from a PEM file."""
    if isinstance(key, RSAPublicKey):
        return thumbprint(jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, EllipticCurvePublicKey):
        return thumbprint(jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True))
    return thumbprint(jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True))


def libtrust_fingerprint(key: Public) -> str:
    """The name of a key as docker's libtrust makes it: 240 bits of the SHA-256 of its DER, twelve groups of base 32."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))
