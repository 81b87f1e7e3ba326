"""What a slave of some repositories may know: decided from patterns alone; no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from registry.domain import access
from registry.domain.access import ACCOUNT, GROUP, Account, Grant, Group, PublicKey
from registry.domain.limits import Limit
from registry.domain.overlap import overlap
from registry.domain.patterns import fits, parse_pattern
from registry.errors import RequestInvalid

MOST_ASKED = 20
SomeRecord = tuple[str, str, str]
"""Kind, key and value of a record."""

_CLOSED = Account("unknown", is_disabled=True)
"""An account that nobody can have, so that a slave without a single account is not open to everybody."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The repositories that fit one pattern of each of these lists: that of the token, and that of the slave."""

    lists: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, of_token: Sequence[str], asked: Sequence[str]) -> Scope | None:
        """None for everything. Raises RequestInvalid, AccessInvalid."""
        if len(asked) > MOST_ASKED:
            raise RequestInvalid(f"a slave asks for {MOST_ASKED} patterns at the most")
        wanted = tuple(map(parse_pattern, asked))
        lists = tuple(tuple(sorted(set(patterns))) for patterns in (of_token, wanted) if patterns)
        return cls(lists) if lists else None

    @property
    def id(self) -> bytes:
        """32 bytes that another scope does not have."""
        return hashlib.sha256(json.dumps(sorted(self.lists)).encode()).digest()

    def holds(self, repository: str) -> bool:
        return all(any(fits(pattern, repository) for pattern in patterns) for patterns in self.lists)

    def may_hold(self, pattern: str) -> bool:
        """Whether a repository of that pattern can be one of these."""
        return all(any(overlap(pattern, own) for own in patterns) for patterns in self.lists)


def records_in(scope: Scope, records: Iterable[SomeRecord]) -> list[SomeRecord]:
    """What the repositories need of accounts: grants that can be for them, the accounts and groups of those, limits
    that can be on them, and all public keys. Never replication tokens, nor an administrator whom nothing is granted to.
    """
    known = {(kind, key): (kind, key, value) for kind, key, value in records}
    granted: set[str] = set()
    found: list[SomeRecord] = []
    for record in known.values():
        match access.decode(record[0], record[2]) if record[0] in access.KINDS else None:
            case Grant() as grant if scope.may_hold(grant.pattern):
                granted.add(grant.subject)
                found.append(record)
            case Limit() as limit if scope.may_hold(limit.pattern):
                found.append(record)
            case PublicKey():
                found.append(record)
    found += _subjects(known, granted)
    if any(kind == ACCOUNT for kind, _ in known):
        found.append((ACCOUNT, _CLOSED.name, access.encode(_CLOSED)))
    return sorted(found)


def _subjects(known: dict[tuple[str, str], SomeRecord], granted: Iterable[str]) -> list[SomeRecord]:
    """The groups and accounts that grants are for, with the members of those groups."""
    found: list[SomeRecord] = []
    names: set[str] = set()
    for subject in granted:
        record = known.get((GROUP, subject.removeprefix("@"))) if subject.startswith("@") else None
        if record is None:
            names.add(subject)
            continue
        found.append(record)
        group = access.decode(GROUP, record[2])
        assert isinstance(group, Group)
        names.update(group.members)
    return found + [known[ACCOUNT, name] for name in names if (ACCOUNT, name) in known]
