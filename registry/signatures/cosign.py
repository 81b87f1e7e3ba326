"""cosign's simple signing: a payload that names an image's digest, and a signature over its bytes.

Source: cosign, specs/SIGNATURE_SPEC.md ("Payloads", "Signature"). Certificates and entries of a transparency log may
stand beside it; here only keys count.
"""

from __future__ import annotations

from collections.abc import Iterable

from registry.signatures.keys import PublicKey, has_signed
from registry.signatures.reading import NoSignatureError, Signed, at, from_base64, json_object

_TYPE = "cosign container image signature"


def check(payload: bytes, signature: str | None, signed: Signed, keys: Iterable[PublicKey]) -> None:
    """Raises NoSignatureError, unless one of the keys has signed the payload and that is about this image.

    The field docker-reference of the payload is ignored, as cosign does: an image keeps its signature when it is
    copied to another repository.
    """
    decoded = from_base64(signature)
    if not any(has_signed(key, decoded, payload) for key in keys):
        raise NoSignatureError("it is by no key of the policy")
    document = json_object(payload)  # only now: what nobody vouches for is not worth reading
    if at(document, "critical", "type") != _TYPE:
        raise NoSignatureError("its payload is of another type")
    if at(document, "critical", "image", "docker-manifest-digest") != signed.digest:
        raise NoSignatureError("it is over another image")
