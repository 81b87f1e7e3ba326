"""Tokens: signed words about who somebody is and which scopes were asked for.

The form is that of distribution's token authentication: a JWT (RFC 7519) with a claim `access`. What a token says is
never enough by itself: each request is decided by the grants of the moment, within the token's scopes.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.auth.keys import loaded
from registry.auth.visitor import ADMIN, CATALOG, Scopes
from registry.domain.access import RIGHTS, AccessTable, Principal
from registry.domain.names import is_repository
from registry.errors import Unauthorized

ACCESS, REFRESH = "access", "refresh"
ISSUER = "shoal"
REFRESH_LIFETIME = 30 * 86400.0
LEEWAY = 60.0
_MOST_KNOWN = 5_000
_LONGEST_KNOWN = 4 * 1024  # with the number: 20 MiB of tokens in a process, and about as much of what they say
_LONGEST = 16 * 1024
_MOST_SCOPES = 16  # of the longest names; a token has to fit into a header, which has 8 KiB


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. `use`: ACCESS or REFRESH; times in seconds since the epoch; `key`: the id of its key."""

    principal: Principal
    scopes: Scopes
    use: str
    expires: float
    key: str


def parse_scopes(texts: Iterable[str]) -> dict[str, frozenset[str]]:
    """What a client asks for: `repository:NAME:pull,push`, several with spaces between; others are left out."""
    scopes: dict[str, frozenset[str]] = {}
    for text in [word for line in texts for word in line.split()][:_MOST_SCOPES]:
        what, _, actions = text.rpartition(":")
        kind, _, name = what.partition(":")
        if what in (CATALOG, ADMIN):
            scopes[what] = frozenset({"*"})
        elif kind == "repository" and is_repository(name):
            wanted = frozenset(actions.split(","))
            rights = frozenset(RIGHTS) if "*" in wanted else wanted & frozenset(RIGHTS)
            scopes[name] = scopes.get(name, frozenset()) | rights
    return scopes


def granted(table: AccessTable, principal: Principal, wanted: Scopes) -> dict[str, frozenset[str]]:
    """The part of the scopes that somebody has a right to now."""
    found: dict[str, frozenset[str]] = {}
    for name, rights in wanted.items():
        if name == ADMIN:
            allowed = rights if table.is_admin(principal) else frozenset[str]()
        elif name == CATALOG:
            allowed = rights if table.sees_anything(principal) else frozenset[str]()
        else:
            allowed = rights & table.rights(principal, name)
        if allowed:
            found[name] = allowed
    return found


class Tokens:
    """Issues and checks. `service`: the name that tokens are for; one of another service is none."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._known: OrderedDict[str, Claims] = OrderedDict()

    def issue(
        self,
        signer: tuple[str, Ed25519PrivateKey],
        principal: Principal,
        scopes: Scopes,
        now: float,
        lifetime: float,
        use: str = ACCESS,
    ) -> str:
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": self.service,
            "sub": principal.name,
            "iat": now,
            "nbf": now - LEEWAY,
            "exp": now + lifetime,
            "jti": secrets.token_hex(8),
            "use": use,
            "access": [_entry(name, rights) for name, rights in scopes.items()],
        }
        if principal.since is not None:
            claims["since"] = principal.since
        if principal.groups:
            claims["groups"] = list(principal.groups)
        key_id, key = signer
        return jwt.encode(claims, key, "EdDSA", {"kid": key_id})

    def check(self, token: str, table: AccessTable, now: float) -> Claims:
        """What it says, where we have signed it; that its time is over is for the caller to see.

        Raises Unauthorized.
        """
        claims = self._known.get(token)
        if claims is None or claims.key not in table.keys:
            claims = self._verified(token, table)
            if len(token) <= _LONGEST_KNOWN:
                self._known[token] = claims
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        if claims.principal.issued is not None and claims.principal.issued > now + LEEWAY:
            raise Unauthorized("the token is of a time to come: check the clocks")
        return claims

    def _verified(self, token: str, table: AccessTable) -> Claims:
        if len(token) > _LONGEST:
            raise Unauthorized("the token is too long")
        try:
            key = table.keys[jwt.get_unverified_header(token)["kid"]]
            # The kind of signature is ours to say, never the token's; times are compared with our own clock.
            claims = jwt.decode(
                token,
                loaded(key.pem),
                ["EdDSA"],
                {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iat", "sub"]},
                audience=self.service,
                issuer=ISSUER,
            )
            return _claims(claims, key.id)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise Unauthorized("the token is none of this registry") from error


def _claims(claims: Mapping[str, Any], key: str) -> Claims:
    scopes = {_scope_of(entry): frozenset(map(str, entry["actions"])) for entry in claims["access"]}
    groups, since = tuple(map(str, claims.get("groups", ()))), claims.get("since")
    principal = Principal(str(claims["sub"]), groups, float(claims["iat"]), None if since is None else float(since))
    return Claims(principal, scopes, str(claims["use"]), float(claims["exp"]), key)


def _entry(name: str, rights: frozenset[str]) -> dict[str, object]:
    kind, name = name.split(":") if name in (CATALOG, ADMIN) else ("repository", name)
    return {"type": kind, "name": name, "actions": sorted(rights)}


def _scope_of(entry: Mapping[str, Any]) -> str:
    kind, name = str(entry["type"]), str(entry["name"])
    return name if kind == "repository" else f"{kind}:{name}"
