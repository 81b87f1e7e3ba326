"""Who may do what: accounts, groups, grants, and the one decision that is made from them; no I/O.

Closed by default: what no grant allows is refused, so there is nothing to deny. A grant gives rights on all
repositories whose names fit a pattern, to an account, to a group (`@devs`), or to `anonymous`, which is everybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

from registry.domain.changes import SetRecord
from registry.domain.granted import Granted, beginnings
from registry.domain.limits import Limit
from registry.errors import AccessChanged, AccessExists, AccessInvalid, AccessRefused, AccessUnknown

RIGHTS = ("pull", "push", "delete")
_MOST_DECIDED = 20_000
ANONYMOUS = "anonymous"
_RESERVED = frozenset({ANONYMOUS, "operator", "several", "token", "unknown"})
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]|[a-z0-9]")

USER, ROBOT = "user", "robot"
ACCOUNT, GROUP, GRANT, KEY, LIMIT, REPLICA = "account", "group", "grant", "key", "limit", "replica"


def parse_account(text: str) -> str:
    """The name itself, where it can be one of an account. ASCII alone, so that no two names look the same."""
    if not _ACCOUNT.fullmatch(text) or text in _RESERVED:
        raise AccessInvalid(
            "the name of an account is 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit at either end",
            {"name": text[:100]},
        )
    return text


def parse_subject(text: str) -> str:
    """Whom a grant is for: an account, a group by its name after @, or anonymous. Raises AccessInvalid."""
    if text == ANONYMOUS:
        return text
    return f"@{parse_account(text[1:])}" if text.startswith("@") else parse_account(text)


def parse_rights(text: str) -> tuple[str, ...]:
    """`pull,push` as rights, in the order of RIGHTS. Raises AccessInvalid."""
    wanted = {word.strip() for word in text.split(",")} - {""}
    if not wanted or not wanted <= set(RIGHTS):
        raise AccessInvalid(
            "rights are some of pull, push and delete, with commas between them", {"rights": text[:100]}
        )
    return tuple(right for right in RIGHTS if right in wanted)


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can log in. `secret`: the hash of the password; "" where none fits, as others know the password.

    What was issued before `valid_from` (seconds since the epoch) is void; that is moved on when the password changes.
    """

    name: str
    kind: str = USER  # or ROBOT
    secret: str = field(default="", repr=False)
    is_admin: bool = False
    is_disabled: bool = False
    created: float = 0.0
    valid_from: float = 0.0
    expires: float | None = None

    @property
    def since(self) -> float:
        """What was issued before is void; that to an account of the same name before this one, too."""
        return max(self.created, self.valid_from)

    def is_usable(self, now: float) -> bool:
        return not self.is_disabled and (self.expires is None or now < self.expires)


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    subject: str
    pattern: str
    rights: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.subject} {self.pattern}"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What tokens are verified with: an Ed25519 key as PEM. `retired`: since when it signs no more."""

    id: str
    pem: str
    created: float
    retired: float | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """A slave that may copy by a token. `id`: another one for each token, also of the same name.

    `hash`: SHA-256 of the token, hexadecimal, "" where none fits. The token is 256 random bits, which nobody finds from
    it; so it travels to slaves of everything, and the token lets its slave in at them too. `repositories`: patterns of
    what it may copy, none for everything. `may_promote`: it may put a slave in the master's place.
    """

    name: str
    id: str
    created: float
    hash: str = field(default="", repr=False)
    repositories: tuple[str, ...] = ()
    may_promote: bool = False


Record = Account | Group | Grant | PublicKey | Limit | Replica
KINDS: dict[str, type[Record]] = {
    ACCOUNT: Account,
    GROUP: Group,
    GRANT: Grant,
    KEY: PublicKey,
    LIMIT: Limit,
    REPLICA: Replica,
}


def kind_of(record: Record) -> str:
    return next(kind for kind, made in KINDS.items() if isinstance(record, made))


def key_of(record: Record) -> str:
    match record:
        case Grant():
            return record.key
        case PublicKey():
            return record.id
        case Limit():
            return record.pattern
        case _:
            return record.name


def encode(record: Record) -> str:
    return json.dumps(asdict(record), separators=(",", ":"), sort_keys=True)


def decode(kind: str, value: str) -> Record:
    """A record as it was encoded; fields that a newer program knows are passed over."""
    made = KINDS[kind]
    fields = {name: value for name, value in json.loads(value).items() if name in made.__dataclass_fields__}
    for name in ("members", "rights", "immutable", "repositories"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return made(**fields)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `groups`: those that a source outside vouches for; `issued`: when, where that was some time ago.

    `since`: that of the account which logged in, None for somebody whom a source outside knows. What was issued to an
    account counts as long as this is its `since`: no clock is asked, as those of two nodes differ.
    """

    name: str = ANONYMOUS
    groups: tuple[str, ...] = ()
    issued: float | None = None
    since: float | None = None

    @property
    def is_anonymous(self) -> bool:
        return self.name == ANONYMOUS


NOBODY = Principal()


@dataclass(slots=True)
class AccessTable:
    """All records by what is asked of them; brought up to date record by record."""

    accounts: dict[str, Account] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    keys: dict[str, PublicKey] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)
    replicas: dict[str, Replica] = field(default_factory=dict)
    _groups_of: dict[str, set[str]] = field(default_factory=dict)
    _grants: dict[str, Granted] = field(default_factory=dict)
    _decided: dict[tuple[str, tuple[str, ...], str], frozenset[str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nobody can log in by an account."""
        return not self.accounts

    def put(self, record: Record) -> None:
        self._decided.clear()
        match record:
            case Account():
                self.accounts[record.name] = record
            case Group():
                self.drop(GROUP, record.name)
                self.groups[record.name] = record
                for member in record.members:
                    self._groups_of.setdefault(member, set()).add(f"@{record.name}")
            case Grant():
                self._grants.setdefault(record.subject, Granted()).put(record.pattern, frozenset(record.rights))
            case PublicKey():
                self.keys[record.id] = record
            case Limit():
                self.limits[record.pattern] = record
            case Replica():
                self.replicas[record.name] = record

    def drop(self, kind: str, key: str) -> None:
        self._decided.clear()
        if kind == ACCOUNT:
            self.accounts.pop(key, None)
        elif kind == GROUP:
            former = self.groups.pop(key, None)
            for member in former.members if former else ():
                self._groups_of[member].discard(f"@{key}")
        elif kind == GRANT:
            subject, _, pattern = key.partition(" ")
            if (granted := self._grants.get(subject)) is not None:
                granted.drop(pattern)
                if not granted:
                    del self._grants[subject]
        elif kind == KEY:
            self.keys.pop(key, None)
        elif kind == LIMIT:
            self.limits.pop(key, None)
        elif kind == REPLICA:
            self.replicas.pop(key, None)

    def is_current(self, principal: Principal, now: float) -> bool:
        """Whether somebody who logged in at `issued` is still welcome."""
        account = self.accounts.get(principal.name)
        if account is None:
            return principal.since is None
        if principal.since is not None:
            return account.is_usable(now) and principal.since == account.since
        return account.is_usable(now) and (principal.issued is None or principal.issued >= account.since)

    def is_admin(self, principal: Principal) -> bool:
        account = self.accounts.get(principal.name)
        return account is not None and account.is_admin

    def rights(self, principal: Principal, repository: str) -> frozenset[str]:
        """What somebody may do with a repository, decided by its name: nobody looks whether there is one."""
        asked = principal.name, principal.groups, repository
        found = self._decided.get(asked)
        if found is None:
            if len(self._decided) >= _MOST_DECIDED:  # names that are asked for need not be of anything
                self._decided.clear()
            found = self._decided[asked] = self._decide(principal, repository)
        return found

    def _decide(self, principal: Principal, repository: str) -> frozenset[str]:
        if self.is_admin(principal):
            return frozenset(RIGHTS)
        found: frozenset[str] = frozenset()
        begins_with = beginnings(repository)
        for subject in self._subjects(principal):
            if granted := self._grants.get(subject):
                found |= granted.rights(repository, begins_with)
        return found

    def sees_anything(self, principal: Principal) -> bool:
        """Whether there is any grant for somebody, so that asking for a list makes sense."""
        return self.is_admin(principal) or any(subject in self._grants for subject in self._subjects(principal))

    def with_granted_groups(self, principal: Principal) -> Principal:
        """Without the groups that nothing is granted to: a directory may know hundreds of somebody."""
        return replace(principal, groups=tuple(group for group in principal.groups if f"@{group}" in self._grants))

    def groups_of(self, principal: Principal) -> list[str]:
        """The names of all groups that somebody is in."""
        own = {group.removeprefix("@") for group in self._groups_of.get(principal.name, ())}
        return sorted(own | set(principal.groups))

    def grants(self) -> Iterator[Grant]:
        for subject, granted in sorted(self._grants.items()):
            for pattern, rights in sorted(granted.items()):
                yield Grant(subject, pattern, tuple(right for right in RIGHTS if right in rights))

    def _subjects(self, principal: Principal) -> Iterator[str]:
        yield ANONYMOUS
        if not principal.is_anonymous:
            yield principal.name
            yield from self._groups_of.get(principal.name, ())
            yield from (f"@{group}" for group in principal.groups)


def check_change(change: SetRecord, before: str, accounts: Callable[[], Iterable[str]]) -> None:
    """Whether a record may change; `before` is what it is now, "" for none; `accounts`: the values of all of them.

    Raises AccessExists, AccessUnknown, AccessChanged, AccessRefused.
    """
    if change.expected == "new" and before and before != change.value:
        raise AccessExists(f"there is a {change.kind} of that name already", {change.kind: change.key})
    if change.expected == "known" and not before:
        raise AccessUnknown(f"there is no such {change.kind}", {change.kind: change.key})
    if change.expected.startswith("{") and before not in (change.expected, change.value):
        raise AccessChanged(f"somebody else changed the {change.kind} just now: try again", {change.kind: change.key})
    if change.kind == ACCOUNT and before and _may_administer(before) and not _may_administer(change.value):
        remaining = sum(_may_administer(value) for value in accounts())
        if remaining <= 1:
            raise AccessRefused("somebody has to remain who may administer: make another account --admin first")


def _may_administer(value: str) -> bool:
    account = decode(ACCOUNT, value) if value else None
    return isinstance(account, Account) and account.is_admin and not account.is_disabled


def with_member(group: Group | None, name: str, account: str, *, is_member: bool) -> Group:
    """A group after somebody joined or left it."""
    group = group or Group(name)
    rest = tuple(member for member in group.members if member != account)
    return replace(group, members=(*rest, account) if is_member else rest)
