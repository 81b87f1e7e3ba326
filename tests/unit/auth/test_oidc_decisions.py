"""What is decided about an issuer without asking it: which rule fits, whom to ask, and when."""

from __future__ import annotations

import pytest

from registry.auth.issuer_documents import FRESH, PAUSE, RETRY, discovery_url, may_ask, may_send_browser, must_fetch
from registry.auth.oidc_claims import account_by_rules, fits
from registry.auth_settings import ClaimRule

ISSUER = "https://id.example/tenant"


def rule(**claims: str | int | bool) -> ClaimRule:
    return ClaimRule(claims=claims, account="ci")


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("team/app", "team/app", True),
        ("team/*", "team/a/b", True),
        ("team/*", "team2/a", False),
        ("team/app", "team/app2", False),
        ("team/app", "Team/app", False),
        ("a?c", "abc", True),
        ("a[b]c", "a[b]c", True),
        ("a[b]c", "abc", False),
        ("refs/heads/*", "refs/heads/x\nrefs/tags/y", True),
        ("main", "x\nmain", False),
        ("main", "main\n", False),
        ("main", ["other", "main"], True),
        ("main", ["other"], False),
        ("main", [], False),
        ("*", None, False),
        ("*", {"a": "b"}, False),
        ("true", True, True),
        (True, True, True),
        (True, "true", True),
        (True, 1, False),
        (True, False, False),
        (5, 5, True),
        (5, "5", True),
        (5, 50, False),
        ("", "", True),
    ],
)
def test_a_claim_and_its_pattern(pattern: str | int | bool, value: object, expected: bool) -> None:
    assert fits(rule(claim=pattern), {"claim": value}) is expected
    assert not fits(rule(claim=pattern), {})


def test_all_claims_of_a_rule_have_to_fit_and_the_first_rule_counts() -> None:
    rules = [
        ClaimRule(claims={"repository": "a", "ref": "main"}, account="first"),
        ClaimRule(claims={"repository": "*"}, account="second"),
    ]
    assert account_by_rules(rules, {"repository": "a", "ref": "main"}) == "first"
    assert account_by_rules(rules, {"repository": "a"}) == "second"
    assert account_by_rules(rules, {"ref": "main"}) is None


def test_claims_in_claims() -> None:
    cluster = {"kubernetes.io": {"namespace": "build"}, "a.b": "flat", "a": {"b": "deep"}}
    assert fits(rule(**{"a.b": "flat"}), cluster)
    assert not fits(rule(**{"a.b": "deep"}), cluster)
    assert fits(rule(**{"x.y": "deep"}), {"x": {"y": "deep"}})


@pytest.mark.parametrize(
    ("now", "fetched", "tried", "wants_newer", "expected"),
    [
        (0.0, None, None, False, True),
        (RETRY - 1, None, 0.0, True, False),
        (RETRY, None, 0.0, False, True),
        (PAUSE - 1, 0.0, 0.0, True, False),
        (PAUSE, 0.0, 0.0, True, True),
        (PAUSE, 0.0, 0.0, False, False),
        (FRESH, 0.0, 0.0, False, True),
        (FRESH + 1, 0.0, FRESH, False, False),
    ],
)
def test_when_to_ask(now: float, fetched: float | None, tried: float | None, wants_newer: bool, expected: bool) -> None:
    assert must_fetch(now, fetched, tried, wants_newer=wants_newer) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://id.example/keys", True),
        ("https://id.example:443/keys", True),
        ("https://keys.example/x", True),
        ("http://keys.example/x", False),
        ("http://id.example/keys", False),
        ("https://id.example:8443/keys", False),
        ("https://id.example.evil/keys", False),
        ("https://id.example@evil/keys", False),
        ("https://user@id.example/keys", False),
        ("//id.example/keys", False),
        ("/keys", False),
        ("", False),
        ("file:///etc/passwd", False),
        ("https://169.254.169.254/", False),
        ("https://[::1", False),
    ],
)
def test_whom_to_ask(url: str, expected: bool) -> None:
    assert may_ask(url, ISSUER, ("keys.example",)) is expected


def test_where_browsers_are_sent() -> None:
    assert may_send_browser("https://id.example/login")
    assert may_send_browser("http://127.0.0.1:9/login")
    for url in ("http://id.example/login", "javascript:alert(1)", "", "https://[::1"):
        assert not may_send_browser(url)


def test_where_the_document_is() -> None:
    expected = f"{ISSUER}/.well-known/openid-configuration"
    assert discovery_url(ISSUER) == discovery_url(ISSUER + "/") == expected
