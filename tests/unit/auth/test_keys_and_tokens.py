"""The keys that sign, and which tokens are taken."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry.auth.identity import Identity
from registry.auth.issuing import TokenService
from registry.auth.keys import KEY_LIFETIME, jwks, signing_key
from registry.auth.logins import NodeLogins
from registry.auth.tokens import ACCESS, REFRESH, REFRESH_LIFETIME, Tokens, granted, parse_scopes
from registry.auth.visitor import ADMIN, CATALOG
from registry.domain.access import AccessTable, Account, Grant, Principal
from registry.errors import RequestInvalid, StorageFailure, Unauthorized
from tests.unit.auth.nodes import Node

ALICE, PASSWORD, HERE = Principal("alice"), "correct horse", "192.0.2.1"
SCOPES = {"team/app": frozenset({"pull"})}


@pytest.fixture
async def node() -> Node:
    node = Node()
    await node.rotation.rotate_if_due()
    await node.accounts.add_user("alice", PASSWORD, is_admin=False)
    await node.accounts.grant("alice", "team/**", "pull,push")
    return node


async def issued(node: Node, tokens: Tokens, use: str = ACCESS) -> str:
    signer = await node.ring.signer(await node.access.table())
    return tokens.issue(signer, ALICE, SCOPES, node.clock(), 300.0, use)


def service_of(node: Node, tokens: Tokens | None = None) -> TokenService:
    logins = NodeLogins(node.access, node.passwords, (), node.clock)
    return TokenService(node.access, logins, tokens or Tokens("shoal"), node.ring, node.clock, 300.0)


async def test_a_token_says_what_was_put_in(node: Node) -> None:
    tokens = Tokens("shoal")
    token = await issued(node, tokens)
    claims = tokens.check(token, await node.access.table(), node.clock())
    assert (claims.principal.name, claims.principal.issued, claims.scopes) == ("alice", node.clock(), SCOPES)
    assert (claims.use, claims.expires) == (ACCESS, node.clock() + 300.0)
    assert jwt.get_unverified_header(token)["alg"] == "EdDSA"


async def test_keys_take_turns_and_old_tokens_stay_good(node: Node) -> None:
    tokens, first = Tokens("shoal"), signing_key(await node.access.table())
    old = await issued(node, tokens)
    node.clock.advance(10)
    new_key = await node.rotation.rotate()
    table = await node.access.table()
    assert signing_key(table) == new_key != first
    assert len(jwks(table)["keys"]) == 2
    new = await issued(node, tokens)
    assert jwt.get_unverified_header(new)["kid"] == new_key.id
    for token in (old, new):
        Tokens("shoal").check(token, table, node.clock())
    node.clock.advance(REFRESH_LIFETIME + 1)
    await node.rotation.rotate_if_due()
    table = await node.access.table()
    assert first is not None
    assert first.id not in table.keys, "nothing that it signed is good any more"
    with pytest.raises(Unauthorized):
        Tokens("shoal").check(old, table, node.clock())


async def test_a_key_that_somebody_has_got(node: Node) -> None:
    tokens = Tokens("shoal")
    old = await issued(node, tokens)
    await node.rotation.rotate()
    retired = await issued(node, tokens)
    await node.rotation.rotate(revoke=True)
    table = await node.access.table()
    for token in (old, retired):
        with pytest.raises(Unauthorized):
            tokens.check(token, table, node.clock())
    tokens.check(await issued(node, tokens), table, node.clock())


async def test_a_key_that_is_revoked_meanwhile_stays_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    first = signing_key(await node.access.table())
    assert first is not None
    read = node.metadata.private_key

    async def slowly(key_id: str) -> str | None:
        found = await read(key_id)
        monkeypatch.undo()
        await node.rotation.rotate(revoke=True)
        return found

    monkeypatch.setattr(node.metadata, "private_key", slowly)
    await node.rotation.rotate()
    assert first.id not in (await node.access.table()).keys


async def test_a_key_signs_for_its_time(node: Node) -> None:
    first = signing_key(await node.access.table())
    node.clock.advance(KEY_LIFETIME)
    await node.rotation.rotate_if_due()
    assert signing_key(await node.access.table()) == first
    node.clock.advance(1)
    await node.rotation.rotate_if_due()
    assert signing_key(await node.access.table()) != first


async def test_without_a_key_nothing_is_signed() -> None:
    node = Node()
    with pytest.raises(StorageFailure):
        await node.ring.signer(AccessTable())


async def test_the_key_set_has_public_halves_alone(node: Node) -> None:
    (key,) = jwks(await node.access.table())["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
    token = await issued(node, Tokens("shoal"))
    public = jwt.PyJWK(key)
    assert (
        jwt.decode(
            token,
            public,
            ["EdDSA"],
            audience="shoal",
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )["sub"]
        == "alice"
    )


def _unsigned(claims: Mapping[str, Any], kid: str, alg: str) -> str:
    parts = ({"alg": alg, "typ": "JWT", "kid": kid}, dict(claims))
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


Forger = Callable[[dict[str, Any], str, AccessTable, Ed25519PrivateKey], str]


def _resigned(**change: Any) -> Forger:
    """Signed by the right key, with other claims; None takes one away."""

    def forge(claims: dict[str, Any], kid: str, _table: AccessTable, own: Ed25519PrivateKey) -> str:
        changed = {name: value for name, value in (claims | change).items() if value is not None}
        return jwt.encode(changed, own, "EdDSA", {"kid": kid})

    return forge


FORGERIES: dict[str, Forger] = {
    "alg none": lambda claims, kid, _table, _own: _unsigned(claims, kid, "none"),
    "alg None": lambda claims, kid, _table, _own: _unsigned(claims, kid, "None"),
    "no signature": lambda claims, kid, _table, _own: _unsigned(claims, kid, "EdDSA"),
    "wrong key": lambda claims, kid, _table, _own: jwt.encode(
        claims, Ed25519PrivateKey.generate(), "EdDSA", {"kid": kid}
    ),
    "other kid": lambda claims, _kid, _table, own: jwt.encode(claims, own, "EdDSA", {"kid": "0" * 16}),
    "no kid": lambda claims, _kid, _table, own: jwt.encode(claims, own, "EdDSA"),
    "the public key as a password": lambda claims, kid, table, _own: jwt.encode(
        claims, table.keys[kid].id * 4, "HS256", {"kid": kid}
    ),
    "of another service": _resigned(aud="elsewhere"),
    "for several services": _resigned(aud=["elsewhere"]),
    "of another issuer": _resigned(iss="elsewhere"),
    "without an end": _resigned(exp=None),
    "without a beginning": _resigned(iat=None),
    "for nobody": _resigned(sub=None),
    "without a use": _resigned(use=None),
    "scopes of another form": _resigned(access="team/app"),
    "a scope of another form": _resigned(access=["team/app"]),
    "no JSON": lambda *_: "a.b.c",
    "empty": lambda *_: "",
    "huge": lambda claims, kid, _table, own: jwt.encode(claims | {"more": "x" * 20_000}, own, "EdDSA", {"kid": kid}),
    "from a time to come": _resigned(iat=1_000_000.0 + 3600),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_tokens_that_are_none(node: Node, forgery: str) -> None:
    tokens, table = Tokens("shoal"), await node.access.table()
    token = await issued(node, tokens)
    kid, own = await node.ring.signer(table)
    claims = jwt.decode(token, options={"verify_signature": False})
    again = jwt.encode(claims, own, "EdDSA", {"kid": kid})
    assert tokens.check(again, table, node.clock()).principal.name == "alice", "the forger works as we do"
    with pytest.raises(Unauthorized):
        tokens.check(FORGERIES[forgery](claims, kid, table, own), table, node.clock())


async def test_that_time_is_over_is_for_the_caller_to_see(node: Node) -> None:
    tokens = Tokens("shoal")
    token = await issued(node, tokens)
    node.clock.advance(1000)
    assert tokens.check(token, await node.access.table(), node.clock()).expires < node.clock()


def test_scopes_that_clients_ask_for() -> None:
    asked = ["repository:team/app:pull,push repository:other:*", "repository:team/app:delete,own", "registry:catalog:*"]
    assert parse_scopes(asked) == {
        "team/app": {"pull", "push", "delete"},
        "other": {"pull", "push", "delete"},
        CATALOG: {"*"},
    }
    assert parse_scopes(["repository:host:5000/app:pull"]) == {}, "a name has no port here"
    for nonsense in ("", "repository", "repository::pull", "plugin:x:pull", "registry:else:*", ":::", "\0"):
        assert parse_scopes([nonsense]) == {}
    assert len(parse_scopes([" ".join(f"repository:r{number}:pull" for number in range(1000))])) == 16


async def test_repositories_that_are_named_like_a_scope_of_the_registry(node: Node) -> None:
    asked = ["repository:admin:*", "repository:catalog:pull", "repository:registry:admin:*", "registry:admin:pull"]
    scopes = parse_scopes(asked)
    assert set(scopes) == {"admin", "catalog", "registry:admin", ADMIN}
    tokens, table = Tokens("shoal"), await node.access.table()
    token = tokens.issue(await node.ring.signer(table), ALICE, scopes, node.clock(), 300.0)
    assert tokens.check(token, table, node.clock()).scopes == scopes
    table.put(Account("root", is_admin=True))
    for text in asked[:3]:
        assert ADMIN not in granted(table, Principal("root"), parse_scopes([text]))
        assert CATALOG not in granted(table, Principal("root"), parse_scopes([text]))


def test_only_what_somebody_has_a_right_to_is_granted() -> None:
    table = AccessTable()
    table.put(Account("alice"))
    table.put(Grant("alice", "team/**", ("pull",)))
    wanted = parse_scopes(
        ["repository:team/app:pull,push", "repository:hidden:pull", "registry:catalog:*", "registry:admin:*"]
    )
    assert granted(table, ALICE, wanted) == {"team/app": {"pull"}, CATALOG: {"*"}}
    assert granted(table, Principal(), wanted) == {}


async def test_a_refresh_token_gets_others_until_it_is_revoked(node: Node) -> None:
    service = service_of(node)
    first = await service.for_password("alice", PASSWORD, HERE, [], offline=True)
    assert first.refresh
    node.clock.advance(20 * 86400)
    again = await service.for_refresh(first.refresh, ["repository:team/app:pull"])
    claims = jwt.decode(again.token, options={"verify_signature": False})
    assert claims["access"] == [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    await node.accounts.set_password("alice", "another password")
    with pytest.raises(Unauthorized):
        await service.for_refresh(first.refresh, [])


async def test_who_is_known_elsewhere_gets_no_refresh_token(node: Node) -> None:
    """`docker login` asks for one: the token of a job, good for minutes, would become one of 30 days."""

    class Elsewhere:
        async def check(self, name: str, password: str) -> Identity | None:
            return Identity("ci") if name == "token" else None

    logins = NodeLogins(node.access, node.passwords, [Elsewhere()], node.clock)
    service = TokenService(node.access, logins, Tokens("shoal"), node.ring, node.clock, 300.0)
    issued_to_job = await service.for_password("token", "a token of the job", HERE, [], offline=True)
    assert (issued_to_job.who, issued_to_job.refresh) == ("ci", "")


async def test_groups_that_nothing_is_granted_to_are_in_no_token(node: Node) -> None:
    """A directory may know hundreds of somebody, and a token has to fit into a header."""

    class Elsewhere:
        async def check(self, name: str, password: str) -> Identity | None:
            return Identity(name, ("devs", *(f"department-{number:03}" for number in range(500))))

    await node.accounts.grant("@devs", "team/**", "pull")
    logins = NodeLogins(node.access, node.passwords, [Elsewhere()], node.clock)
    service = TokenService(node.access, logins, Tokens("shoal"), node.ring, node.clock, 300.0)
    token = (await service.for_password("dora", "x", HERE, ["repository:team/app:pull"], offline=False)).token
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["groups"] == ["devs"]
    assert claims["access"] == [{"type": "repository", "name": "team/app", "actions": ["pull"]}]


async def test_a_token_of_one_use_is_none_of_the_other(node: Node) -> None:
    tokens = Tokens("shoal")
    service = service_of(node, tokens)
    with pytest.raises(Unauthorized):
        await service.for_refresh(await issued(node, tokens, ACCESS), [])
    refresh = await issued(node, tokens, REFRESH)
    assert (await service.for_refresh(refresh, [])).refresh == refresh


async def test_tokens_of_a_deleted_account_are_not_those_of_the_next_one_of_that_name(node: Node) -> None:
    service = service_of(node)
    old = await service.for_password("alice", PASSWORD, HERE, [], offline=True)
    await node.accounts.delete("alice")
    node.clock.advance(1)
    await node.accounts.add_user("alice", PASSWORD, is_admin=True)
    with pytest.raises(Unauthorized):
        await service.for_refresh(old.refresh, [])


async def test_another_audience_is_refused(node: Node) -> None:
    service = service_of(node)
    service.check_audience("shoal")
    service.check_audience(None)
    with pytest.raises(RequestInvalid):
        service.check_audience("elsewhere")
