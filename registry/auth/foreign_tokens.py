"""Tokens of a token service outside of the registry, as distribution's `auth: token` takes them.

https://distribution.github.io/distribution/spec/auth/jwt: a JSON web token with `iss`, `aud` (the service), `exp`,
`nbf`, `iat`, `jti`, `sub`, and `access`, a list of {type, name, actions}.

The header `x5c` is not looked at. Distribution takes a key from there when its chain ends at a configured certificate;
here the keys are those of the file and no others. A service that signs with the key of a configured certificate is
taken whether it sends the chain or not; one that signs with keys that a configured authority has certified needs those
certificates in the file. That leaves no certificate path, with its dates and constraints, to be judged by us.
Certificates in the file are keys and no more: that one has expired does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from registry.auth.signed_tokens import (
    TokenRefusedError,
    VerifyingKey,
    candidates,
    keys_of,
    libtrust_fingerprint,
    thumbprint_of,
    verified,
    verifying_key,
)
from registry.auth_settings import TokenSettings
from registry.errors import StartupError

log = structlog.get_logger(__name__)

MOST_BYTES = 1024**2  # of the file of keys
_BEGIN = "-----BEGIN "


@dataclass(frozen=True, slots=True)
class ForeignAccess:
    """What a token says: its subject ("" is nobody in particular), actions by repository, and whether the catalogue.

    Actions are words of the service: `pull`, `push`, `delete`, `*`.
    """

    name: str
    repositories: Mapping[str, frozenset[str]]
    catalogue: bool = False


class ForeignTokens:
    """Verifies with the keys that the file held at the start."""

    def __init__(self, settings: TokenSettings) -> None:
        """Reads the file of keys. Raises StartupError where it cannot be used."""
        self._settings = settings
        self._keys = read_keys(Path(settings.keys))

    def __repr__(self) -> str:
        return f"ForeignTokens({self._settings.issuer!r})"

    def access_of(self, token: str) -> ForeignAccess | None:
        """What a token allows; None where it is not valid. No I/O: one or a few signatures are verified."""
        try:
            keys = candidates(self._keys, token, strict=False)
            return access_in(verified(token, keys, self._settings.issuer, self._settings.service))
        except TokenRefusedError as refusal:
            log.info("a token is refused", issuer=self._settings.issuer, reason=str(refusal))
            return None


def access_in(claims: Mapping[str, Any]) -> ForeignAccess:
    """Read `sub` and `access`. A type that is not known allows nothing; what is malformed spoils the whole token.

    Raises TokenRefusedError.
    """
    name, listed = claims.get("sub", ""), claims.get("access")
    if not isinstance(name, str) or not isinstance(listed, list | None):
        raise TokenRefusedError("sub or access is malformed")
    repositories: dict[str, frozenset[str]] = {}
    catalogue = False
    for kind, resource, actions in map(_entry, listed or ()):
        # repository(plugin) is what docker calls a repository of plugins
        if kind.partition("(")[0] == "repository":
            repositories[resource] = repositories.get(resource, frozenset()) | actions
        elif (kind, resource) == ("registry", "catalog"):
            catalogue = catalogue or "*" in actions
    return ForeignAccess(name, MappingProxyType(repositories), catalogue)


def _entry(entry: object) -> tuple[str, str, frozenset[str]]:
    if isinstance(entry, Mapping):
        kind, resource, actions = entry.get("type"), entry.get("name"), entry.get("actions")
        if isinstance(kind, str) and isinstance(resource, str) and isinstance(actions, list | None):
            words = actions or []
            if all(isinstance(word, str) for word in words):
                return kind, resource, frozenset(words)
    raise TokenRefusedError("access is malformed")


def read_keys(path: Path) -> tuple[VerifyingKey, ...]:
    """The keys of a file: PEM (public keys and certificates) or a JWK Set. Raises StartupError."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("ascii", "replace")
    except OSError as error:
        raise StartupError(f"auth.token.keys: {path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise StartupError(f"auth.token.keys: {path} has more than {MOST_BYTES // 1024**2} MiB")
    try:
        keys = keys_of(json.loads(content)) if text.lstrip().startswith("{") else tuple(_pem_keys(text))
    except (TokenRefusedError, ValueError, UnsupportedAlgorithm, RecursionError) as error:
        raise StartupError(f"auth.token.keys: {path} cannot be used: {error}") from None
    if not keys:
        raise StartupError(
            f"auth.token.keys: {path} has no usable key; expected PUBLIC KEY or CERTIFICATE in PEM, or a JWK Set "
            "(RSA of 2048 bits or more, P-256, P-384, P-521, Ed25519)"
        )
    return keys


def _pem_keys(text: str) -> Iterator[VerifyingKey]:
    """Raises ValueError, with one line that does not show what is in the file."""
    for number, block in enumerate(text.split(_BEGIN)[1:], 1):
        kind = block.partition("-----")[0]
        if "PRIVATE" in kind:
            raise ValueError("it holds a private key; only the public half belongs here: openssl pkey -pubout")
        pem = (_BEGIN + block).encode("ascii", "replace")
        try:
            if kind == "CERTIFICATE":
                key: object = load_pem_x509_certificate(pem).public_key()
            else:
                key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(f"its part {number} ({kind[:40]}) is neither a public key nor a certificate") from None
        usable = verifying_key(key)
        if usable is None:
            raise ValueError(f"its key {number} is too weak, or of a kind that is not known")
        yield VerifyingKey(
            usable.key,
            frozenset({thumbprint_of(usable.key), libtrust_fingerprint(usable.key)}),
            usable.algorithms,
        )
