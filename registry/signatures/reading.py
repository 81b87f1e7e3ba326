"""Reading what strangers wrote: JSON and base64, where anything that is not as it should be is simply no signature."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class NoSignatureError(ValueError):
    """These bytes are not a signature that counts; the message says why, for a log."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature has to be over: an image or an index, its digest as `algorithm:hex` and its manifest."""

    digest: str
    manifest: bytes


def json_object(content: bytes | str) -> Mapping[str, object]:
    """Raises NoSignatureError. Of a name that comes twice the last one counts, as for those who sign."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise NoSignatureError("it is not JSON") from None
    if not isinstance(document, dict):
        raise NoSignatureError("it is no JSON object")
    return document


def unambiguous_object(content: bytes) -> Mapping[str, object]:
    """As json_object, and no name comes twice in an object, however its letters are written.

    Clients that are written in Go take `Layers` for `layers`, and the last one counts. Raises NoSignatureError.
    """
    try:
        document = json.loads(content, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise NoSignatureError("it is not JSON, or can be read in more than one way") from None
    if not isinstance(document, dict):
        raise NoSignatureError("it is no JSON object")
    return document


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name.casefold() for name, _ in pairs}) < len(pairs):
        raise NoSignatureError("a name comes twice")
    return dict(pairs)


def at(document: object, *path: str) -> object:
    """The value at a path of names; None where there is none."""
    for name in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document


def items(value: object) -> Sequence[object]:
    """The entries of a list; none where it is no list."""
    return value if isinstance(value, list) else ()


def from_base64(value: object) -> bytes:
    """Bytes of standard base64 with its padding; raises NoSignatureError."""
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else _refuse()
    except (binascii.Error, ValueError):
        return _refuse()


def from_base64url(value: object) -> bytes:
    """Bytes of base64url without padding (RFC 7515, section 2); raises NoSignatureError."""
    if not isinstance(value, str) or "=" in value or not value.isascii():
        return _refuse()
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return _refuse()


def _refuse() -> bytes:
    raise NoSignatureError("a field is not base64")
