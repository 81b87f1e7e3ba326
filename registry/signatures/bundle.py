"""Sigstore bundles that were made with a key: what cosign writes since version 3.

Sources: sigstore protobuf-specs, sigstore_bundle.proto; DSSE protocol 1.0; in-toto statement v1; cosign,
specs/BUNDLE_SPEC.md. Certificates and entries of a transparency log are not looked at: a policy names keys, and the
registry asks nobody outside. So this needs no library of sigstore, whose core is what is left out here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry.signatures.keys import PublicKey, has_signed
from registry.signatures.reading import NoSignatureError, Signed, at, from_base64, items, json_object

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OLDER_NAME = "application/vnd.dev.sigstore.bundle+json;version=0.3"

_STATEMENT = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_SIGNED_IMAGE = "https://sigstore.dev/cosign/sign/v1"
_MAX_SIGNATURES = 8
_MAX_SUBJECTS = 64


def check(content: bytes, signed: Signed, keys: Iterable[PublicKey]) -> None:
    """Raises NoSignatureError, unless one of the keys has signed this image in the bundle."""
    bundle = json_object(content)
    if bundle.get("mediaType") not in (BUNDLE, _OLDER_NAME):
        raise NoSignatureError("it is a bundle of another version")
    if at(bundle, "verificationMaterial", "publicKey") is None:
        raise NoSignatureError("it was made with a certificate, not with a key")
    envelope, plain = bundle.get("dsseEnvelope"), bundle.get("messageSignature")
    if isinstance(envelope, Mapping) and plain is None:
        _check_envelope(envelope, signed, tuple(keys))
    elif isinstance(plain, Mapping) and envelope is None:
        _check_message(plain, signed, tuple(keys))
    else:
        raise NoSignatureError("a bundle holds either an envelope or a signature of a message")


def _check_envelope(envelope: Mapping[str, object], signed: Signed, keys: tuple[PublicKey, ...]) -> None:
    payload, kind = from_base64(envelope.get("payload")), envelope.get("payloadType")
    if kind != _STATEMENT:
        raise NoSignatureError("its envelope holds no in-toto statement")
    message = _pre_authentication_encoding(_STATEMENT.encode(), payload)
    signatures = [from_base64(at(entry, "sig")) for entry in items(envelope.get("signatures"))[:_MAX_SIGNATURES]]
    if not any(has_signed(key, signature, message) for signature in signatures for key in keys):
        raise NoSignatureError("it is by no key of the policy")
    statement = json_object(payload)
    # The same key may sign other statements of the image: that it was scanned and found wanting, for example.
    if statement.get("_type") != _STATEMENT_TYPE or statement.get("predicateType") != _SIGNED_IMAGE:
        raise NoSignatureError("it is a statement about an image, not its signature")
    algorithm, _, hexadecimal = signed.digest.partition(":")
    subjects = items(statement.get("subject"))[:_MAX_SUBJECTS]
    if not any(at(subject, "digest", algorithm) == hexadecimal for subject in subjects):
        raise NoSignatureError("it is over another image")


def _check_message(message: Mapping[str, object], signed: Signed, keys: tuple[PublicKey, ...]) -> None:
    """The message is the manifest itself; the digest that stands beside the signature is a hint for others."""
    signature = from_base64(message.get("signature"))
    if not any(has_signed(key, signature, signed.manifest) for key in keys):
        raise NoSignatureError("it is over another image, or by no key of the policy")


def _pre_authentication_encoding(kind: bytes, payload: bytes) -> bytes:
    """DSSE protocol, "Signature Definition"."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
