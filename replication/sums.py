"""Sums over what a repository holds, by which two nodes find out where they differ without sending all of it."""

from __future__ import annotations

import hashlib

_MODULUS = 2**256
EMPTY = f"{0:064x}"
"""Of a set without items."""


class SetSum:
    """The sum modulo 2^256 of SHA-256 over each item of a set: in whatever order they come, it is the same."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, *parts: str) -> None:
        """One item; each part goes in with its length, so that no two items read the same."""
        state = hashlib.sha256()
        for part in parts:
            encoded = part.encode()
            state.update(b"%d:" % len(encoded))
            state.update(encoded)
        self._sum = (self._sum + int.from_bytes(state.digest(), "big")) % _MODULUS

    def add_manifest(self, digest: str, media_type: str) -> None:
        self.add("manifest", digest, media_type)

    def add_tag(self, name: str, digest: str) -> None:
        self.add("tag", name, digest)

    @property
    def hex(self) -> str:
        return f"{self._sum:064x}"
