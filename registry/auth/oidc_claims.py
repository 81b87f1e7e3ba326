"""Who the claims of a verified token speak of: a job by rules, a person by name; no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from registry.auth.identity import Identity
from registry.auth_settings import ClaimPattern, ClaimRule

MOST_GROUPS = 1000


def account_by_rules(rules: Iterable[ClaimRule], claims: Mapping[str, Any]) -> str | None:
    """The account of the first rule whose claims all fit; None where no rule does."""
    return next((rule.account for rule in rules if fits(rule, claims)), None)


def fits(rule: ClaimRule, claims: Mapping[str, Any]) -> bool:
    """Whether every claim of the rule is there and fits; a claim that is a list fits where one of its items does."""
    return bool(rule.claims) and all(
        any(_fits(pattern, value) for value in _values(claim(claims, name))) for name, pattern in rule.claims.items()
    )


def _fits(pattern: ClaimPattern, value: object) -> bool:
    """`*` and `?` in a text stand for anything, slashes too; case counts. A number or bool is compared as JSON."""
    written = _text(value)
    if written is None:
        return False
    if not isinstance(pattern, str):
        return _text(pattern) == written
    return fnmatchcase(written, pattern.replace("[", "[[]"))  # brackets are themselves


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def _values(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def claim(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name; where there is none of that name, dots lead into objects (`realm_access.roles`)."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def person(claims: Mapping[str, Any], name_claim: str, groups_claim: str) -> Identity | None:
    """The person that an ID token speaks of; None where it does not say who that is."""
    name = claims.get(name_claim)
    if not isinstance(name, str) or not name or not name.isascii():  # in lower case, other letters become ASCII ones
        return None
    listed = _values(claim(claims, groups_claim)) if groups_claim else []
    groups = {group for group in listed if isinstance(group, str) and group and group.isprintable()}
    return Identity(name if name_claim == "sub" else name.lower(), tuple(sorted(groups)[:MOST_GROUPS]))
