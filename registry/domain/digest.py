"""Content digests (OCI image specification, "Digests")."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from registry.errors import DigestInvalid

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
ALGORITHMS = tuple(_HEX_LENGTH)
DEFAULT_ALGORITHM = "sha256"
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX = re.compile(r"[a-f0-9]+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The name of some content: `algorithm:hex`, for sha256 and sha512."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @staticmethod
    def parse(text: str) -> Digest:
        """Read a digest; raises DigestInvalid for a bad form or an algorithm that is not supported."""
        return _parse(text)

    @staticmethod
    def of(content: bytes, algorithm: str = DEFAULT_ALGORITHM) -> Digest:
        """The digest of some bytes."""
        return Digest(algorithm, hashlib.new(algorithm, content).hexdigest())


@lru_cache(maxsize=4096)
def _parse(text: str) -> Digest:
    algorithm, colon, hexadecimal = text.partition(":")
    length = _HEX_LENGTH.get(algorithm)
    if not colon or (length is None and not _GRAMMAR.fullmatch(text)):
        raise DigestInvalid("a digest has the form algorithm:hex", {"digest": text[:256]})
    if length is None:
        raise DigestInvalid(f"digest algorithm not supported; use {' or '.join(ALGORITHMS)}", {"digest": text[:256]})
    if len(hexadecimal) != length or not _HEX.fullmatch(hexadecimal):
        raise DigestInvalid(f"a {algorithm} digest has {length} lower-case hexadecimal digits", {"digest": text[:256]})
    return Digest(algorithm, hexadecimal)


def check_algorithm(name: str) -> str:
    """The name itself, where it is an algorithm that Shoal supports; else raises DigestInvalid."""
    if name not in _HEX_LENGTH:
        raise DigestInvalid(f"digest algorithm not supported; use {' or '.join(ALGORITHMS)}", {"algorithm": name[:64]})
    return name
