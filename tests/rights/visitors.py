"""Who comes: each says what it shows and, from the grants alone, what it may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from requests.auth import _basic_auth_str as basic_auth

from tests.harness.accounts import ADMIN, password_of

OWN, HIDDEN = "matrix", "hidden"
"""Grants are for matrix/**; of hidden/** only an administrator may know."""

EVERYTHING = frozenset({"pull", "push", "delete"})
USERS = ("nobody-special", "puller", "pusher", "deleter", "member", "doer", "barred", "leaver")
GRANTS = [
    ("puller", f"{OWN}/**", "pull"),
    ("pusher", f"{OWN}/**", "pull,push"),
    ("deleter", f"{OWN}/**", "delete"),
    ("doer", f"{OWN}/**", "pull,push,delete"),
    ("barred", f"{OWN}/**", "pull,push,delete"),
    ("@readers", f"{OWN}/**", "pull"),
    ("machine", f"{OWN}/**", "pull"),
    ("expired-machine", f"{OWN}/**", "pull,push,delete"),
]


@dataclass(frozen=True)
class Keys:
    """What the visitors sign with: the key of the server, by its id; and the secrets of robots."""

    id: str
    private: Ed25519PrivateKey
    secrets: Mapping[str, str]

    def claims(self, name: str, own: str, rights: str = "", *scopes: str, **changed: object) -> dict[str, Any]:
        """What the server itself would write into a token for `rights` on the repository `own`."""
        now = time.time()
        access = [{"type": "repository", "name": own, "actions": rights.split(",")}] if rights else []
        access += [{"type": "registry", "name": scope, "actions": ["*"]} for scope in scopes]
        claims: dict[str, Any] = {
            "iss": "shoal",
            "aud": "shoal",
            "sub": name,
            "iat": now,
            "nbf": now - 60,
            "exp": now + 300,
            "jti": "made-by-a-test",
            "use": "access",
            "access": access,
        }
        return {key: value for key, value in (claims | changed).items() if value is not None}

    def sign(self, claims: dict[str, Any], *, kid: str | None = None) -> str:
        return jwt.encode(claims, self.private, "EdDSA", {"kid": kid or self.id})


Shown = Callable[[Keys, str], str | None]
"""The header Authorization, for a visit to the repository of this name."""


@dataclass(frozen=True)
class Visitor:
    """`own`: rights on its repository below matrix/; `everywhere`: on any. `shows`: basic, bearer, cookie or nothing.
    `cookie`: of a session; `site`: what the browser says of the page that made it ask.

    `is_valid`: what it shows is accepted; `is_known`: it has shown who it is, or has a token of everybody.
    """

    name: str
    header: Shown = field(repr=False)
    shows: str
    own: frozenset[str] = frozenset()
    everywhere: frozenset[str] = frozenset()
    may_list: bool = False
    may_administer: bool = False
    is_valid: bool = True
    is_known: bool = True
    is_anonymous: bool = False
    has_expired: bool = False
    cookie: Shown | None = field(default=None, repr=False)
    site: str = "same-origin"
    only: frozenset[str] = frozenset()
    """The rights that what it shows is good for, where these are few; for any other it is not accepted."""


def _nothing(_keys: Keys, _own: str) -> None:
    return None


def _basic(name: str) -> Shown:
    return lambda keys, _own: basic_auth(name, keys.secrets.get(name) or password_of(name))


def _token(name: str, rights: str = "", *scopes: str, **changed: object) -> Shown:
    return lambda keys, own: f"Bearer {keys.sign(keys.claims(name, own, rights, *scopes, **changed))}"


def _forged(make: Callable[[Keys, dict[str, Any]], str]) -> Shown:
    """A token for everything by somebody who may do all of it, were it not for how it is made."""
    return lambda keys, own: f"Bearer {make(keys, keys.claims('doer', own, 'pull,push,delete', 'catalog'))}"


def _encoded(claims: dict[str, Any], key: Any, algorithm: str, kid: object) -> str:
    return jwt.encode(claims, key, algorithm, {"kid": kid} if kid is not None else None)


def _by_public_key(keys: Keys, claims: dict[str, Any]) -> str:
    """The public key taken for a shared secret; made by hand, as PyJWT refuses to sign so."""
    import base64
    import hashlib
    import hmac
    import json

    pem = keys.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = {"alg": "HS256", "typ": "JWT", "kid": keys.id}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
    signature = hmac.digest(pem, b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def _own_key_in_the_head(_keys: Keys, claims: dict[str, Any]) -> str:
    private = Ed25519PrivateKey.generate()
    key = jwt.algorithms.OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return jwt.encode(claims, private, "EdDSA", {"kid": "none-of-yours", "jwk": key})


def _replica(change: Callable[[str], str] = str, name: str = "copier") -> Shown:
    """The token of a slave, or what became of it."""
    return lambda keys, _own: f"Bearer {change(keys.secrets[name])}"


def _refused(name: str, header: Shown, shows: str = "bearer") -> Visitor:
    return Visitor(name, header, shows, is_valid=False)


def _allowed(name: str, account: str, rights: str, *, lists: bool = True) -> list[Visitor]:
    """An account, once by its password and once by a token for all that it may do."""
    own = frozenset(rights.split(",")) - {""}
    return [
        Visitor(name, _basic(account), "basic", own, may_list=lists),
        Visitor(f"{name} by token", _token(account, rights, "catalog"), "bearer", own, may_list=lists),
    ]


def _browser(name: str, cookie: Shown, *, site: str = "same-origin", is_valid: bool = True) -> Visitor:
    return Visitor(name, _nothing, "cookie", is_valid=is_valid, cookie=cookie, site=site)


def _session(name: str = "browsing", **changed: object) -> Shown:
    """Of somebody who is known elsewhere alone, in a group that may pull."""
    use: dict[str, object] = {"use": "session", "groups": ["readers"]}
    return lambda keys, own: keys.sign(keys.claims(name, own, _ALL_RIGHTS, *_OTHERS, **(use | changed)))


def _unsigned_session(keys: Keys, own: str) -> str:
    claims = keys.claims("browsing", own, _ALL_RIGHTS, use="session")
    return _encoded(claims, None, "none", keys.id)


_PULL = frozenset({"pull"})
_ALL_RIGHTS = "pull,push,delete"
_OTHERS = ("catalog", "admin")

VISITORS: list[Visitor] = [
    Visitor("anonymous", _nothing, "nothing", is_known=False, is_anonymous=True),
    Visitor("podman without login", lambda _k, _o: "Basic Og==", "nothing", is_known=False, is_anonymous=True),
    Visitor("token of everybody", _token("anonymous", _ALL_RIGHTS, "catalog"), "bearer", is_anonymous=True),
    *_allowed("account without grants", "nobody-special", "", lists=False),
    *_allowed("pull", "puller", "pull"),
    *_allowed("pull and push", "pusher", "pull,push"),
    *_allowed("delete", "deleter", "delete"),
    *_allowed("all rights", "doer", _ALL_RIGHTS),
    *_allowed("member of a group", "member", "pull"),
    *_allowed("robot", "machine", "pull"),
    Visitor("admin", _basic(ADMIN), "basic", EVERYTHING, EVERYTHING, may_list=True, may_administer=True),
    Visitor(
        "admin by token",
        _token(ADMIN, _ALL_RIGHTS, "catalog", "admin"),
        "bearer",
        EVERYTHING,
        EVERYTHING,
        may_list=True,
        may_administer=True,
    ),
    Visitor("admin with a token for pulling", _token(ADMIN, "pull"), "bearer", _PULL, _PULL),
    Visitor("a scope within the grant", _token("doer", "pull"), "bearer", _PULL),
    Visitor(
        "a scope beyond the grant", _token("puller", _ALL_RIGHTS, "catalog", "admin"), "bearer", _PULL, may_list=True
    ),
    Visitor("a token without scopes", _token("doer"), "bearer"),
    Visitor("token for another repository", lambda k, _o: _token("doer", _ALL_RIGHTS)(k, f"{OWN}/another"), "bearer"),
    Visitor(
        "expired token",
        _token("doer", _ALL_RIGHTS, "catalog", exp=time.time() - 1),
        "bearer",
        EVERYTHING,
        has_expired=True,
    ),
    Visitor(
        "expired token for pulling", _token("puller", "pull", exp=time.time() - 1), "bearer", _PULL, has_expired=True
    ),
    Visitor("slave", _replica(), "bearer", only=frozenset({"replicate"})),
    Visitor("heir of the master", _replica(name="heir"), "bearer", only=frozenset({"replicate", "promote"})),
    _refused("slave by a password", lambda keys, _o: basic_auth("copier", keys.secrets["copier"]), "basic"),
    _refused("wrong token of a slave", _replica(lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"))),
    _refused("token of a slave cut off", _replica(lambda token: token[:-1])),
    _refused("token of another slave", _replica(lambda token: token.replace("copier", "other"))),
    _refused("token of a slave without a name", _replica(lambda token: token.replace("copier", ""))),
    _refused("no token of a slave", lambda _k, _o: "Bearer shoal-replica-"),
    _refused("expired robot", _basic("expired-machine"), "basic"),
    _refused("expired robot by token", _token("expired-machine", _ALL_RIGHTS)),
    _refused("disabled account", _basic("barred"), "basic"),
    _refused("disabled account by token", _token("barred", _ALL_RIGHTS)),
    _refused("disabled account by an expired token", _token("barred", _ALL_RIGHTS, exp=time.time() - 1)),
    _refused("token of before the password", _token("doer", _ALL_RIGHTS, iat=1_000_000_000.0)),
    _refused("wrong password", lambda _k, _o: basic_auth("doer", "not the password"), "basic"),
    _refused("name in capitals", lambda _k, _o: basic_auth("Doer", password_of("doer")), "basic"),
    _refused("no account", _basic("stranger"), "basic"),
    _refused("another kind of authorization", lambda _k, _o: "Digest username=doer"),
    _refused("Basic that is no base64", lambda _k, _o: "Basic d\u00f6er"),
    _refused("Basic without a colon", lambda _k, _o: "Basic ZG9lcg=="),
    _refused("token of another service", _token("doer", _ALL_RIGHTS, aud="elsewhere")),
    _refused("token of another issuer", _token("doer", _ALL_RIGHTS, iss="elsewhere")),
    _refused("refresh token", _token("doer", _ALL_RIGHTS, use="refresh")),
    _refused("token of a time to come", _token("doer", _ALL_RIGHTS, iat=time.time() + 3600)),
    _refused("token without an end", _token("doer", _ALL_RIGHTS, exp=None)),
    _refused("token of nobody", _token("doer", _ALL_RIGHTS, sub=None)),
    _refused("alg none", _forged(lambda keys, claims: _encoded(claims, None, "none", keys.id))),
    _refused("wrong key", _forged(lambda k, claims: _encoded(claims, Ed25519PrivateKey.generate(), "EdDSA", k.id))),
    _refused("the public key as a secret", _forged(_by_public_key)),
    _refused("a key of its own in the head", _forged(_own_key_in_the_head)),
    _refused("unknown key", _forged(lambda keys, claims: keys.sign(claims, kid="0123456789abcdef"))),
    _refused("no key named", _forged(lambda keys, claims: _encoded(claims, keys.private, "EdDSA", None))),
    _refused("a signature cut off", _forged(lambda keys, claims: keys.sign(claims)[:-4])),
    _refused("no token at all", lambda _k, _o: "Bearer ..."),
    _refused("a session as a token", _token("browsing", use="session")),
    _refused("a password of a browser as a token", _token("browsing", use="login")),
    _browser("a browser", _session()),
    _browser("a browser that another site sends", _session(), site="cross-site"),
    _browser("a browser that a neighbour sends", _session(), site="same-site"),
    Visitor("a browser with a token", _token("puller", "pull"), "bearer", _PULL, cookie=_session()),
    _browser("a session that is over", _session(exp=time.time() - 1), is_valid=False),
    _browser("a session of another service", _session(aud="elsewhere"), is_valid=False),
    _browser("a session of a time to come", _session(iat=time.time() + 3600), is_valid=False),
    _browser("a session by the name of an account", _session("doer"), is_valid=False),
    _browser("a session by the name of an administrator", _session(ADMIN), is_valid=False),
    _browser("a session by the name of a robot", _session("machine"), is_valid=False),
    _browser("a session by the name of a disabled account", _session("barred"), is_valid=False),
    _browser("a token as a session", _session("browsing", use="access"), is_valid=False),
    _browser("a password of a browser as a session", _session("browsing", use="login"), is_valid=False),
    _browser("a session without a signature", _unsigned_session, is_valid=False),
    _browser("no session at all", lambda _k, _o: "x.y.z", is_valid=False),
    _refused("a head that nests deeply", lambda _k, _o: f"Bearer {_nested(4500)}.e30.AAAA"),
]


def _nested(depth: int) -> str:
    import base64

    return base64.urlsafe_b64encode(b'{"kid":' + b"[" * depth).rstrip(b"=").decode()
