"""Accounts, groups and grants: what an administrator does with them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace

from registry.auth.passwords import Passwords, check_password
from registry.domain.access import (
    ACCOUNT,
    GRANT,
    GROUP,
    LIMIT,
    RIGHTS,
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
from registry.errors import AccessUnknown
from registry.ports import Access, Changes

_SECRET_BYTES = 30


class AccountService:
    """Each method raises AccessInvalid for what cannot be, AccessUnknown, AccessExists or AccessRefused."""

    def __init__(self, access: Access, changes: Changes, passwords: Passwords, clock: Clock) -> None:
        self._access = access
        self._changes = changes
        self._passwords = passwords
        self._clock = clock

    async def accounts(self) -> list[Account]:
        return sorted((await self._access.table()).accounts.values(), key=lambda account: account.name)

    async def groups(self) -> list[Group]:
        return sorted((await self._access.table()).groups.values(), key=lambda group: group.name)

    async def grants(self) -> list[Grant]:
        return list((await self._access.table()).grants())

    async def add_user(self, name: str, password: str, *, is_admin: bool) -> Account:
        secret = await self._passwords.hash(check_password(password))
        account = Account(parse_account(name), secret=secret, is_admin=is_admin, created=self._clock())
        await self._put(account, "new")
        return account

    async def create_robot(
        self, name: str, grants: Iterable[tuple[str, str]], lifetime: float | None
    ) -> tuple[Account, str]:
        """An account for a program, and its secret, which nobody sees again. `grants`: pattern and rights."""
        name = parse_account(name)
        wanted = [Grant(name, parse_pattern(pattern), parse_rights(rights)) for pattern, rights in grants]
        secret, now = secrets.token_urlsafe(_SECRET_BYTES), self._clock()
        expires = None if lifetime is None else now + lifetime
        hashed = await self._passwords.hash(secret)
        account = Account(name, "robot", hashed, created=now, expires=expires)
        await self._put(account, "new")
        for grant in wanted:
            await self._put(grant)
        return account, secret

    async def set_password(self, name: str, password: str) -> None:
        """What was issued before is void."""
        account = await self._known(name)
        secret = await self._passwords.hash(check_password(password))
        await self._put(replace(account, secret=secret, valid_from=self._clock()), "known")

    async def renew_secret(self, name: str) -> str:
        account = await self._known(name)
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        hashed = await self._passwords.hash(secret)
        await self._put(replace(account, secret=hashed, valid_from=self._clock()), "known")
        return secret

    async def disable(self, name: str, *, is_disabled: bool) -> None:
        """From now on whatever the account shows is refused; what it had been issued stays void afterwards."""
        account = await self._known(name)
        await self._put(replace(account, is_disabled=is_disabled, valid_from=self._clock()), "known")

    async def set_admin(self, name: str, *, is_admin: bool) -> None:
        await self._put(replace(await self._known(name), is_admin=is_admin), "known")

    async def delete(self, name: str) -> None:
        """The account with its grants and memberships: one of the same name begins with nothing."""
        account = await self._known(name)
        table = await self._access.table()
        await self._drop(ACCOUNT, account.name)
        for group in list(table.groups.values()):
            if account.name in group.members:
                await self._put(with_member(group, group.name, account.name, is_member=False))
        for grant in list(table.grants()):
            if grant.subject == account.name:
                await self._drop(GRANT, grant.key)

    async def grant(self, subject: str, pattern: str, rights: str) -> Grant:
        """In the place of what the subject was granted on that pattern."""
        made = Grant(parse_subject(subject), parse_pattern(pattern), parse_rights(rights))
        await self._put(made)
        return made

    async def revoke(self, subject: str, pattern: str) -> None:
        await self._drop(GRANT, Grant(parse_subject(subject), parse_pattern(pattern), RIGHTS).key)

    async def set_member(self, group: str, account: str, *, is_member: bool) -> Group:
        """A group is there as long as it has members."""
        name = parse_account(group.removeprefix("@"))
        table = await self._access.table()
        made = with_member(table.groups.get(name), name, parse_account(account), is_member=is_member)
        if made.members:
            await self._put(made)
        else:
            await self._drop(GROUP, name)
        return made

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

    async def _known(self, name: str) -> Account:
        account = (await self._access.table()).accounts.get(name)
        if account is None:
            raise AccessUnknown("there is no such account", {"account": name[:100]})
        return account

    async def _put(self, record: Record, expected: str = "any") -> None:
        await self._changes.submit(SetRecord(kind_of(record), key_of(record), encode(record), expected=expected))

    async def _drop(self, kind: str, key: str) -> None:
        await self._changes.submit(SetRecord(kind, key, "", expected="known"))
