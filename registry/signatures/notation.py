"""Signatures of notation in an envelope of JWS.

Source: Notary Project, signature specification and "JWS Signature Envelope"; RFC 7515. The signing scheme is
`notary.x509`. Not taken: time stamps by others (so a signature ends with its certificates), the scheme of signing
authorities, and plug-ins, all of which need trust beyond the certificates of a policy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from registry.signatures import chains
from registry.signatures.keys import DIGEST_OF_CURVE, PublicKey, holds
from registry.signatures.reading import NoSignatureError, Signed, at, from_base64, from_base64url, items, json_object

ARTIFACT = "application/vnd.cncf.notary.signature"
JWS, COSE = "application/jose+json", "application/cose"
PAYLOAD = "application/vnd.cncf.notary.payload.v1+json"

_SCHEME, _EXPIRY = "io.cncf.notary.signingScheme", "io.cncf.notary.expiry"
_UNDERSTOOD = {_SCHEME, _EXPIRY}
_OF_RSA = {2048: ("PS256", hashes.SHA256()), 3072: ("PS384", hashes.SHA384()), 4096: ("PS512", hashes.SHA512())}
_OF_CURVE = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def check(content: bytes, signed: Signed, trust: Collection[x509.Certificate], now: float) -> float:
    """Until when (seconds since the epoch) the envelope is a signature of the image by somebody who is trusted.

    Raises NoSignatureError.
    """
    envelope = json_object(content)
    if set(envelope) != {"payload", "protected", "header", "signature"}:
        raise NoSignatureError("it is no flattened JWS")
    protected, payload = envelope["protected"], envelope["payload"]
    encoded_chain = items(at(envelope, "header", "x5c"))[: chains.MAX_CHAIN + 1]
    chain = chains.read_chain(from_base64(each) for each in encoded_chain)
    until = chains.check(chain, trust, now)
    headers, content_signed = json_object(from_base64url(protected)), from_base64url(payload)
    key = chains.key_of(chain)
    if headers.get("alg") != algorithm_of(key):
        raise NoSignatureError("it names another algorithm than its certificate's key has")
    if not has_signed(key, from_base64url(envelope["signature"]), f"{protected}.{payload}".encode()):
        raise NoSignatureError("its certificate's key has not signed it")
    ends = _check_headers(headers, now)
    check_payload(content_signed, signed)
    return min(until, ends)


def check_payload(payload: bytes, signed: Signed) -> None:
    """Raises NoSignatureError where a payload is about something else."""
    target = json_object(payload).get("targetArtifact")
    if at(target, "digest") != signed.digest or at(target, "size") != len(signed.manifest):
        raise NoSignatureError("it is over another image")


def algorithm_of(key: PublicKey) -> str:
    """The one algorithm (by its JWS name) that a key signs with ("Algorithm Selection"); raises NoSignatureError."""
    match key:
        case rsa.RSAPublicKey() if key.key_size in _OF_RSA:
            return _OF_RSA[key.key_size][0]
        case ec.EllipticCurvePublicKey():
            return _OF_CURVE[key.curve.name]
    raise NoSignatureError("its certificate's key is of a kind that the Notary Project does not have")


def has_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a signature in the form of JWS and COSE is one of the key, by the algorithm that the key asks for."""
    match key:
        case rsa.RSAPublicKey():
            digest = _OF_RSA[key.key_size][1]
            scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return holds(lambda: key.verify(signature, message, scheme, digest))
        case ec.EllipticCurvePublicKey():
            length = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * length:
                return False
            pair = int.from_bytes(signature[:length], "big"), int.from_bytes(signature[length:], "big")
            way = ec.ECDSA(DIGEST_OF_CURVE[key.curve.name])
            return holds(lambda: key.verify(encode_dss_signature(*pair), message, way))
    return False


def _check_headers(headers: Mapping[str, object], now: float) -> float:
    """Until when the signer wants the signature to count."""
    critical = items(headers.get("crit"))
    if _SCHEME not in critical or not all(isinstance(name, str) and name in _UNDERSTOOD for name in critical):
        raise NoSignatureError("what its signer calls critical is not understood here")
    if headers.get("cty") != PAYLOAD or headers.get(_SCHEME) != "notary.x509":
        raise NoSignatureError("its payload or its signing scheme is another one")
    expiry = headers.get(_EXPIRY)
    if expiry is None:
        return float("inf")
    return check_expiry(_seconds(expiry), now)


def check_expiry(expiry: float, now: float) -> float:
    """Raises NoSignatureError where the time has come."""
    if now >= expiry:
        raise NoSignatureError("it has expired")
    return expiry


def _seconds(text: object) -> float:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise NoSignatureError("its expiry is no time")
    return moment.timestamp()
