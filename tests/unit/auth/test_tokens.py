"""What tokens say, and when they say nothing any more."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest

from registry.auth.keys import loaded, new_key
from registry.auth.tokens import ACCESS, Tokens, granted, parse_scopes
from registry.auth.visitor import ADMIN, CATALOG, CLOSED, Visitor
from registry.domain.access import ACCOUNT, KEY, NOBODY, RIGHTS, AccessTable, Account, Grant, Principal
from registry.errors import Unauthorized
from registry.http.gate import parse_basic

NOW = 1_700_000_000.0
ALL = frozenset(RIGHTS)


class Issuer:
    """A token service with one key, an administrator and an account that may pull everything."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self.key, pem = new_key(NOW)
        private = serialization.load_pem_private_key(pem.encode(), None)
        assert isinstance(private, Ed25519PrivateKey)
        assert private.public_key() == loaded(self.key.pem)
        self.signer = self.key.id, private
        self.tokens = Tokens("shoal")
        self.table = AccessTable()
        for record in (self.key, Account("root", is_admin=True), Account("ann"), Grant("ann", "**", ("pull",))):
            self.table.put(record)

    def visitor(self, account: str, *scopes: str) -> Visitor:
        """Whoever shows a token that was asked for with these scopes."""
        principal = Principal(account, since=self.table.accounts[account].since)
        wanted = granted(self.table, principal, parse_scopes(scopes))
        token = self.tokens.issue(self.signer, principal, wanted, NOW, 300.0)
        claims = self.tokens.check(token, self.table, NOW)
        assert claims.use == ACCESS
        return Visitor(claims.principal, self.table, claims.scopes)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def test_scopes_are_read_as_clients_write_them() -> None:
    asked = ["repository:team/app:pull,push repository:base:pull", "repository:team/app:delete", "registry:catalog:*"]

    assert parse_scopes(asked) == {
        "team/app": ALL,
        "base": frozenset({"pull"}),
        CATALOG: frozenset({"*"}),
    }
    assert parse_scopes(["repository:any:*"]) == {"any": ALL}


@pytest.mark.parametrize(
    "scope",
    [
        "",
        ":",
        "repository",
        "repository:",
        "repository::pull",
        "repository:Team/App:pull",
        "repository:team/äpp:pull",
        "repository:../app:pull",
        "repository:registry:admin:*",
        'repository:a"b:pull',
        "repository:a\r\nX-More:pull",
        "repository(plugin):a:pull",
        "registry:everything:*",
        "admin:*",
    ],
)
def test_scopes_that_name_nothing_of_ours_are_left_out(scope: str) -> None:
    assert not {ADMIN, CATALOG, "admin", "catalog"} & set(parse_scopes([scope]))
    assert all(name.isascii() and name.isalnum() for name in parse_scopes([scope]))


@pytest.mark.parametrize("name", ["admin", "catalog"])
def test_a_repository_may_have_the_name_of_a_scope(issuer: Issuer, name: str) -> None:
    pulling = issuer.visitor("ann", f"repository:{name}:pull")

    assert pulling.rights(name) == {"pull"}
    assert not pulling.may_ask_for_lists


def test_a_token_for_a_repository_administers_nothing(issuer: Issuer) -> None:
    """Whatever the repository is called: tokens for pulling lie about in many places."""
    visitor = issuer.visitor("root", "repository:admin:*", "repository:catalog:*")

    assert visitor.rights("admin") == ALL
    assert not visitor.may_administer
    assert not visitor.may_ask_for_lists
    assert issuer.visitor("root", "registry:admin:*").may_administer
    assert not issuer.visitor("ann", "registry:admin:*").may_administer


def test_a_token_is_void_once_its_key_is_gone(issuer: Issuer) -> None:
    """Also where it was seen before: a key that was stolen is taken out of the table."""
    token = issuer.tokens.issue(issuer.signer, NOBODY, {}, NOW, 300.0)
    issuer.tokens.check(token, issuer.table, NOW)

    issuer.table.drop(KEY, issuer.key.id)

    with pytest.raises(Unauthorized):
        issuer.tokens.check(token, issuer.table, NOW)


def test_a_deleted_account_is_nobody_and_one_from_outside_is_not_asked_for() -> None:
    table = AccessTable()

    assert not table.is_current(Principal("gone", issued=NOW, since=0.0), NOW)
    assert table.is_current(Principal("outsider", issued=NOW), NOW)


def test_what_was_issued_counts_as_long_as_the_account_is_what_it_was() -> None:
    """Whatever the clocks of two nodes say; and what was issued to somebody outside is not for a later account."""
    table, issued = AccessTable(), Principal("ann", issued=NOW + 500, since=NOW)
    table.put(Account("ann", created=NOW))
    assert table.is_current(issued, NOW)
    assert not table.is_current(Principal("ann", issued=NOW - 1), NOW)

    table.put(Account("ann", created=NOW, valid_from=NOW + 1))
    assert not table.is_current(issued, NOW)

    table.drop(ACCOUNT, "ann")
    table.put(Account("ann", created=NOW + 10))
    assert not table.is_current(issued, NOW)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "\udcff", f"{'a' * 20_000}.e30.AAAA"]
    + [
        f"{urlsafe_b64encode(head.encode()).decode().rstrip('=')}.e30.AAAA"
        for head in (
            "[]",
            "null",
            json.dumps({"alg": "none"}),
            json.dumps({"alg": "EdDSA", "kid": ["a"]}),
            json.dumps({"alg": "EdDSA", "kid": {"a": 1}}),
            '{"kid": ' + "9" * 5000 + "}",
            '{"kid": ' + "[" * 5000,
        )
    ],
)
def test_what_is_no_token_is_refused(issuer: Issuer, token: str) -> None:
    with pytest.raises(Unauthorized):
        issuer.tokens.check(token, issuer.table, NOW)


@pytest.mark.parametrize("credentials", ["", "é", "\udcff", "YQ", "YTpi!", "YQ==", "/zpi", "Og==:"])
def test_what_is_no_name_and_password_is_refused(credentials: str) -> None:
    with pytest.raises(Unauthorized):
        parse_basic(credentials)


def test_whom_no_gate_has_let_in_may_do_nothing() -> None:
    assert CLOSED.rights("any") == frozenset()
    assert not CLOSED.may_ask_for_lists
    assert not CLOSED.may_administer
    assert not CLOSED.is_open
