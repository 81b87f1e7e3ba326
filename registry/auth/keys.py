"""The keys that sign tokens: Ed25519 (RFC 8037), kept in the database, so that all nodes sign with the same ones."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from registry.domain.access import KEY, AccessTable, PublicKey, encode
from registry.domain.changes import SetRecord
from registry.domain.clock import Clock
from registry.errors import AccessChanged, AccessUnknown, StorageFailure
from registry.ports import Access, AccessReader, Changes

KEY_LIFETIME = 30 * 86400.0
"""Seconds that a key signs before the next one takes over."""


def new_key(now: float) -> tuple[PublicKey, str]:
    """A key pair: the public half as a record, the private one as PEM."""
    private = Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return PublicKey(secrets.token_hex(8), pem.decode(), now), secret.decode()


def signing_key(table: AccessTable) -> PublicKey | None:
    """The newest key that has not been retired."""
    active = [key for key in table.keys.values() if key.retired is None]
    return max(active, key=lambda key: (key.created, key.id), default=None)


def jwks(table: AccessTable) -> dict[str, list[dict[str, str]]]:
    """All keys that tokens may be signed with, as a JSON Web Key Set (RFC 7517)."""
    return {"keys": [_jwk(key) for _, key in sorted(table.keys.items())]}


def _jwk(key: PublicKey) -> dict[str, str]:
    raw = loaded(key.pem).public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": key.id, "alg": "EdDSA", "use": "sig"}


def loaded(pem: str) -> Ed25519PublicKey:
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, Ed25519PublicKey)
    return key


class KeyRing:
    """The present key that signs; it is read from the database once."""

    def __init__(self, reader: AccessReader) -> None:
        self._reader = reader
        self._known: tuple[str, Ed25519PrivateKey] | None = None

    async def signer(self, table: AccessTable) -> tuple[str, Ed25519PrivateKey]:
        """Its id and the key itself. Raises StorageFailure where there is none yet."""
        key = signing_key(table)
        if key is None:
            raise StorageFailure("there is no key to sign tokens with")
        if self._known is None or self._known[0] != key.id:
            pem = await self._reader.private_key(key.id)
            private = serialization.load_pem_private_key((pem or "").encode(), None)
            assert isinstance(private, Ed25519PrivateKey)
            self._known = key.id, private
        return self._known


class KeyRotation:
    """Makes the first key, and the next one in time; what a key has signed is valid for as long as it says."""

    def __init__(self, access: Access, reader: AccessReader, changes: Changes, clock: Clock, longest: float) -> None:
        """`longest`: seconds that anything signed is valid."""
        self._access = access
        self._reader = reader
        self._changes = changes
        self._clock = clock
        self._longest = longest

    async def rotate_if_due(self) -> None:
        current = signing_key(await self._access.table())
        if current is None or self._clock() - current.created > KEY_LIFETIME:
            await self.rotate()
        await self._forget((await self._access.table()).keys)

    async def rotate(self, *, revoke: bool = False) -> PublicKey:
        """A new key signs from now on; the others only verify, or, with `revoke`, what they signed is void."""
        now = self._clock()
        known = list((await self._access.table()).keys.values())
        key, private = new_key(now)
        await self._changes.submit(SetRecord(KEY, key.id, encode(key), private, expected="new"))
        for old in known:
            if revoke:
                await self._changes.submit(SetRecord(KEY, old.id, ""))
                continue
            if old.retired is not None:
                continue
            kept = await self._reader.private_key(old.id) or ""
            retired = SetRecord(KEY, old.id, encode(replace(old, retired=now)), kept, expected=encode(old))
            with suppress(AccessUnknown, AccessChanged):  # somebody else has retired or revoked it
                await self._changes.submit(retired)
        return key

    async def _forget(self, keys: Mapping[str, PublicKey]) -> None:
        for key in list(keys.values()):
            if key.retired is not None and self._clock() - key.retired > self._longest:
                await self._changes.submit(SetRecord(KEY, key.id, ""))
