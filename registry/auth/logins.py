"""Logging in with a name and a password: by an account, or by a source outside that knows the password."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from registry.auth.identity import Identity, PasswordSource
from registry.auth.passwords import MOST_LENGTH, Passwords
from registry.auth.sessions import is_signed, owner_of
from registry.auth.tokens import Tokens
from registry.domain.access import AccessTable, Account, Principal, parse_account
from registry.domain.clock import Clock
from registry.domain.networks import network_of
from registry.domain.throttle import FailedLogins
from registry.errors import AccessInvalid, TooManyRequests, Unauthorized
from registry.ports import Access

_REMEMBERED_FOR = 300.0  # seconds; a changed password counts at once all the same
_MOST_REMEMBERED = 10_000


class Logins(Protocol):
    """Who somebody is that shows a name and a password."""

    async def login(self, name: str, password: str, address: str) -> Principal:
        """Raises Unauthorized, TooManyRequests, Unavailable. `address`: of the client."""
        ...

    async def hash(self, password: str) -> str:
        """What is kept of a new password. Raises TooManyRequests."""
        ...


class NodeLogins:
    """Logins of a node: one place compares passwords and counts failures, however many workers there are.

    A login that succeeded is remembered for some minutes under a keyed hash, so that a client which sends its
    password with each request costs Argon2 once; many that come at once are one.
    """

    def __init__(
        self,
        access: Access,
        passwords: Passwords,
        sources: Sequence[PasswordSource],
        clock: Clock,
        tokens: Tokens | None = None,
    ) -> None:
        """`tokens` knows the passwords that we have signed ourselves (Sessions.password); None where there are none."""
        self._access = access
        self._tokens = tokens
        self._passwords = passwords
        self._sources = sources
        self._clock = clock
        self._failures = FailedLogins()
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[Principal | None]] = {}

    async def login(self, name: str, password: str, address: str) -> Principal:
        now, client = self._clock(), network_of(address)
        table = await self._access.table()
        account = table.accounts.get(name)
        if account is None and (owner := self._owner(name, password, table, client)) is not None:
            return owner
        proof = self._proof(name, password, account)
        known = self._remembered.get(proof)
        if known is not None and now < known[1] and self._is_welcome(known[0], table, by_source=account is None):
            return known[0]
        self._check_patience(client, name)
        found = await self._once(proof, name, password, account)
        if found is None:
            self._failures.failed(client, name, self._clock())
            raise Unauthorized("the name or the password is wrong")
        self._failures.succeeded(client, name)
        self._remember(proof, found)
        return found

    async def hash(self, password: str) -> str:
        return await self._passwords.hash(password)

    def _owner(self, name: str, password: str, table: AccessTable, client: str) -> Principal | None:
        """Who shows a password that we have signed. It is not remembered: to verify it costs less than that, and so it
        ends when it says. Raises Unauthorized where it is not good (any more), and asks nobody outside about it.
        """
        if self._tokens is None:
            return None
        try:
            return owner_of(password, name, self._tokens, table, self._clock())
        except Unauthorized:
            self._check_patience(client, name)
            self._failures.failed(client, name, self._clock())
            raise

    def _check_patience(self, client: str, name: str) -> None:
        """Raises TooManyRequests."""
        if (seconds := self._failures.wait(client, name, self._clock())) > 0:
            raise TooManyRequests("too many wrong passwords from this address; wait before the next try", seconds)

    async def _once(self, proof: bytes, name: str, password: str, account: Account | None) -> Principal | None:
        task = self._under_way.get(proof)
        if task is None:
            task = self._under_way[proof] = asyncio.create_task(self._check(name, password, account))
            task.add_done_callback(lambda _: self._under_way.pop(proof, None))
        return await asyncio.shield(task)

    async def _check(self, name: str, password: str, account: Account | None) -> Principal | None:
        if account is not None:
            if len(password) > MOST_LENGTH:
                return None
            fits = await self._passwords.fits(account.secret, password)
            return Principal(account.name, since=account.since) if fits and account.is_usable(self._clock()) else None
        for source in await self._asked_about(password):
            if (identity := await source.check(name, password)) is not None:
                found, table = outsider(identity), await self._access.table()
                return found if found and self._is_welcome(found, table, by_source=True) else None
        await self._passwords.fits("", password)
        return None

    async def _asked_about(self, password: str) -> Sequence[PasswordSource]:
        if self._tokens and is_signed(password, self._tokens, await self._access.table(), self._clock()):
            return ()
        return self._sources

    def _is_welcome(self, principal: Principal, table: AccessTable, *, by_source: bool) -> bool:
        """Whether somebody may be let in now. A source outside may have another name for who logs in: it can make
        nobody one of our people, as their passwords are ours to compare, but it can give a job its robot."""
        account = table.accounts.get(principal.name)
        if account is None:
            return True
        is_for_jobs = account.kind == "robot" and not account.is_admin
        return account.is_usable(self._clock()) and (is_for_jobs or not by_source)

    def _proof(self, name: str, password: str, account: Account | None) -> bytes:
        parts = (name, password, account.secret if account else "", repr(account.since) if account else "")
        # keyed BLAKE2 (RFC 7693) is several times as fast as an HMAC, which who guesses makes us compute each time
        text = "\0".join(parts).encode(errors="surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _remember(self, proof: bytes, principal: Principal) -> None:
        self._remembered[proof] = principal, self._clock() + _REMEMBERED_FOR
        self._remembered.move_to_end(proof)
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)


def outsider(identity: Identity) -> Principal | None:
    """Somebody whom a source outside knows; None where the name cannot be one that grants are made to."""
    try:
        return Principal(parse_account(identity.name), identity.groups)
    except AccessInvalid:
        return None
