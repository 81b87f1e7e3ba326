"""The token service: who shows what, and which token that gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from registry.auth.issued import IssuedToken
from registry.auth.keys import KeyRing, jwks
from registry.auth.logins import Logins
from registry.auth.tokens import REFRESH, REFRESH_LIFETIME, Tokens, granted, parse_scopes
from registry.domain.access import NOBODY, AccessTable, Principal
from registry.domain.clock import Clock
from registry.errors import RequestInvalid, Unauthorized
from registry.ports import Access


class TokenService:
    """Issues tokens. Scopes that somebody has no right to are left out, and a client learns so by its request."""

    def __init__(
        self, access: Access, logins: Logins, tokens: Tokens, keys: KeyRing, clock: Clock, lifetime: float
    ) -> None:
        """`lifetime`: seconds that a token is good for."""
        self._access = access
        self._logins = logins
        self._tokens = tokens
        self._keys = keys
        self._clock = clock
        self._lifetime = lifetime

    def check_audience(self, service: str | None) -> None:
        """Raises RequestInvalid where a client means another service."""
        if service and service != self._tokens.service:
            raise RequestInvalid(f"this service is {self._tokens.service}", {"service": service[:100]})

    async def shown_name(self, name: str) -> str:
        """What a log may call somebody who shows this name: it may be a password in the wrong place."""
        return name if name in (await self._access.table()).accounts else "unknown"

    async def for_nobody(self, scopes: Iterable[str]) -> IssuedToken:
        """A token for what everybody may do."""
        return await self._issue(await self._access.table(), NOBODY, scopes)

    async def for_password(
        self, name: str, password: str, address: str, scopes: Iterable[str], *, offline: bool
    ) -> IssuedToken:
        """Raises Unauthorized, TooManyRequests."""
        principal = await self._logins.login(name, password, address)
        return await self._issue(await self._access.table(), principal, scopes, offline=offline)

    async def for_refresh(self, token: str, scopes: Iterable[str]) -> IssuedToken:
        """Raises Unauthorized."""
        table, now = await self._access.table(), self._clock()
        claims = self._tokens.check(token, table, now)
        if claims.use != REFRESH or now >= claims.expires or not table.is_current(claims.principal, now):
            raise Unauthorized("the refresh token is not valid (any more): log in again")
        issued = await self._issue(table, claims.principal, scopes)
        return replace(issued, refresh=token)

    async def key_set(self) -> dict[str, list[dict[str, str]]]:
        return jwks(await self._access.table())

    async def _issue(
        self, table: AccessTable, principal: Principal, scopes: Iterable[str], *, offline: bool = False
    ) -> IssuedToken:
        signer, now = await self._keys.signer(table), self._clock()
        wanted = granted(table, principal, parse_scopes(scopes))
        # It has to fit into a header.
        token = self._tokens.issue(signer, table.with_granted_groups(principal), wanted, now, self._lifetime)
        refresh = ""
        # Whoever a source outside knows shows again what it knows: a job's token ends with the job, and groups change.
        if offline and principal.since is not None:
            refresh = self._tokens.issue(signer, principal, {}, now, REFRESH_LIFETIME, REFRESH)
        return IssuedToken(principal.name, token, now, self._lifetime, refresh)
