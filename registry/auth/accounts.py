"""Accounts, groups and grants: what an administrator does with them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol, TypeVar

from registry.auth.passwords import check_password
from registry.domain.access import (
    ACCOUNT,
    GRANT,
    GROUP,
    LIMIT,
    RIGHTS,
    ROBOT,
    USER,
    AccessTable,
    Account,
    Grant,
    Group,
    Record,
    encode,
    key_of,
    kind_of,
    parse_account,
    parse_rights,
    parse_subject,
    with_member,
)
from registry.domain.changes import SetRecord
from registry.domain.clock import Clock
from registry.domain.limits import Limit, parse_project, parse_tag_pattern
from registry.domain.patterns import parse_pattern
from registry.errors import AccessChanged, AccessExists, AccessInvalid, AccessUnknown
from registry.ports import Access, Changes

T = TypeVar("T")

_SECRET_BYTES = 30
_TRIES = 5


class Hasher(Protocol):
    """Makes hashes of passwords, in the node, which bounds how many are made at once."""

    async def hash(self, password: str) -> str:
        """Raises TooManyRequests."""
        ...


class AccountService:
    """Each method raises AccessInvalid for what cannot be, AccessUnknown, AccessExists or AccessRefused.

    `kind`: only an account of that kind (USER, ROBOT) is meant; None for either. What is there is changed by
    comparing it with what was read, so that no two changes of one record undo each other.
    """

    def __init__(self, access: Access, changes: Changes, hasher: Hasher, clock: Clock) -> None:
        self._access = access
        self._changes = changes
        self._hasher = hasher
        self._clock = clock

    async def table(self) -> AccessTable:
        return await self._access.table()

    async def accounts(self, kind: str | None = None) -> list[Account]:
        known = (await self._access.table()).accounts.values()
        return sorted((account for account in known if kind in (None, account.kind)), key=lambda account: account.name)

    async def account(self, name: str, kind: str | None = None) -> Account:
        account = (await self._access.table()).accounts.get(name)
        if account is None or kind not in (None, account.kind):
            raise AccessUnknown(f"there is no such {kind or 'account'}", {kind or "account": name[:100]})
        return account

    async def groups(self) -> list[Group]:
        return sorted((await self._access.table()).groups.values(), key=lambda group: group.name)

    async def grants(self) -> list[Grant]:
        return list((await self._access.table()).grants())

    async def add_user(self, name: str, password: str, *, is_admin: bool) -> Account:
        name = parse_account(name)
        secret, now = await self._hasher.hash(check_password(password)), self._clock()
        # What was issued to one of that name before is void.
        account = Account(name, USER, secret, is_admin, created=now, valid_from=now)
        await self._put(account, "new")
        return account

    async def create_robot(
        self, name: str, grants: Iterable[tuple[str, str]], lifetime: float | None
    ) -> tuple[Account, str]:
        """An account for a program, and its secret, which nobody sees again. `grants`: pattern and rights."""
        name = parse_account(name)
        wanted = [Grant(name, parse_pattern(pattern), parse_rights(rights)) for pattern, rights in grants]
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        hashed, now = await self._hasher.hash(secret), self._clock()
        expires = None if lifetime is None else now + lifetime
        account = Account(name, ROBOT, hashed, created=now, valid_from=now, expires=expires)
        await self._put(account, "new")
        for grant in wanted:
            await self._put(grant)
        return account, secret

    async def set_password(self, name: str, password: str, kind: str | None = None) -> Account:
        """What was issued before is void."""
        await self.account(name, kind)
        secret = await self._hasher.hash(check_password(password))
        return await self._change(name, kind, lambda now: replace(now, secret=secret, valid_from=self._clock()))

    async def renew_secret(
        self, name: str, lifetime: float | None = None, kind: str | None = None
    ) -> tuple[Account, str]:
        """A new secret; the old one and what was issued for it are void. `lifetime`: None leaves the time as it is."""
        before = await self.account(name, kind)
        if lifetime is None and before.expires is not None and self._clock() >= before.expires:
            raise AccessInvalid(
                "the account has expired: say for how long the new secret is to be good", {"name": name}
            )
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        hashed = await self._hasher.hash(secret)

        def renewed(account: Account) -> Account:
            now = self._clock()
            expires = account.expires if lifetime is None else now + lifetime
            return replace(account, secret=hashed, valid_from=now, expires=expires)

        return await self._change(name, kind, renewed), secret

    async def change(
        self, name: str, kind: str | None = None, *, is_disabled: bool | None = None, is_admin: bool | None = None
    ) -> Account:
        """None leaves it as it is. Whatever a disabled account shows is refused; what it had been issued stays void."""

        def changed(account: Account) -> Account:
            if is_disabled is not None and is_disabled != account.is_disabled:
                account = replace(account, is_disabled=is_disabled, valid_from=self._clock())
            return account if is_admin is None else replace(account, is_admin=is_admin)

        return await self._change(name, kind, changed)

    async def delete(self, name: str, kind: str | None = None) -> None:
        """The account with its grants and memberships: one of the same name begins with nothing.

        It is disabled first, so that whatever interrupts this leaves nothing that somebody could use.
        """
        await self.change(name, kind, is_disabled=True)
        table = await self._access.table()
        for group in list(table.groups.values()):
            if name in group.members:
                await self.set_member(group.name, name, is_member=False)
        for grant in list(table.grants()):
            if grant.subject == name:
                await self._drop(GRANT, grant.key)
        await self._drop(ACCOUNT, name)

    async def grant(self, subject: str, pattern: str, rights: str) -> Grant:
        """In the place of what the subject was granted on that pattern."""
        made = Grant(parse_subject(subject), parse_pattern(pattern), parse_rights(rights))
        await self._put(made)
        return made

    async def revoke(self, subject: str, pattern: str) -> None:
        # A pattern that was granted once can be taken back, whatever patterns are allowed by now.
        await self._drop(GRANT, Grant(parse_subject(subject), pattern, RIGHTS).key)

    async def set_member(self, group: str, account: str, *, is_member: bool) -> Group:
        """A group is there as long as it has members."""
        name, member = parse_account(group.removeprefix("@")), parse_account(account)

        async def changed() -> Group:
            before = (await self._access.table()).groups.get(name)
            made = with_member(before, name, member, is_member=is_member)
            if before is None and not is_member:
                raise AccessUnknown("there is no such group", {"group": name})
            value = encode(made) if made.members else ""
            if before is None or value != encode(before):
                expected = "new" if before is None else encode(before)
                await self._changes.submit(SetRecord(GROUP, name, value, expected=expected))
            return made

        return await _tried(changed)

    async def limits(self) -> list[Limit]:
        return sorted((await self._access.table()).limits.values(), key=lambda limit: limit.pattern)

    async def limit(self, pattern: str, most_bytes: int | None, tags: int | None, immutable: Iterable[str]) -> Limit:
        """What the repositories of a pattern may take; in the place of what was said of that pattern."""
        rules = tuple(parse_tag_pattern(rule) for rule in immutable)
        made = Limit(parse_project(pattern), most_bytes, tags, rules)
        await self._put(made)
        return made

    async def unlimit(self, pattern: str) -> None:
        await self._drop(LIMIT, parse_project(pattern))

    async def _change(self, name: str, kind: str | None, make: Callable[[Account], Account]) -> Account:
        async def changed() -> Account:
            before = await self.account(name, kind)
            after = make(before)
            if after != before:
                await self._put(after, encode(before))
            return after

        return await _tried(changed)

    async def _put(self, record: Record, expected: str = "any") -> None:
        await self._changes.submit(SetRecord(kind_of(record), key_of(record), encode(record), expected=expected))

    async def _drop(self, kind: str, key: str) -> None:
        await self._changes.submit(SetRecord(kind, key, "", expected="known"))


async def _tried(change: Callable[[], Awaitable[T]]) -> T:
    """Read, change and compare again, as long as others change the same record."""
    for _ in range(_TRIES - 1):
        try:
            return await change()
        except (AccessChanged, AccessExists):
            continue
    return await change()
