"""What a person who has logged in with a browser goes on with: a session, and a password for programs.

Both are words that we have signed ourselves, as tokens are (registry.auth.tokens), so nothing is kept anywhere, and
every worker of every node knows them. Neither is a token: each has a `use` of its own, and is taken in one place.
"""

from __future__ import annotations

from dataclasses import replace

from registry.auth.issued import IssuedToken
from registry.auth.keys import KeyRing
from registry.auth.tokens import Tokens
from registry.auth.visitor import Visitor
from registry.domain.access import AccessTable, Principal
from registry.domain.clock import Clock
from registry.errors import Denied, Unauthorized
from registry.ports import Access

SESSION, LOGIN = "session", "login"

MOST_LENGTH = 3800
"""Bytes: a browser keeps a cookie of 4096 with its name, and a terminal takes a line of as many."""


def is_known_elsewhere(principal: Principal, table: AccessTable) -> bool:
    """Whether somebody is known to a source outside alone.

    What others say of a person never makes that person one of our accounts, a robot's either: who has a password here
    shows it. While there is an account of that name, what was issued to others by it before does not count.
    """
    return principal.since is None and principal.name not in table.accounts


class Sessions:
    """Issues both. Lifetimes are in seconds."""

    def __init__(
        self,
        access: Access,
        tokens: Tokens,
        keys: KeyRing,
        clock: Clock,
        session_lifetime: float,
        login_lifetime: float,
    ) -> None:
        self._access = access
        self._tokens = tokens
        self._keys = keys
        self._clock = clock
        self._session_lifetime = session_lifetime
        self._login_lifetime = login_lifetime

    async def begin(self, principal: Principal) -> IssuedToken:
        """The session of somebody who has just come back from an issuer. Raises Denied."""
        return await self._issue(principal, SESSION, self._session_lifetime)

    async def password(self, visitor: Visitor) -> IssuedToken:
        """A password of whoever a session belongs to. Raises Denied."""
        return await self._issue(replace(visitor.principal, issued=None), LOGIN, self._login_lifetime)

    async def _issue(self, principal: Principal, use: str, lifetime: float) -> IssuedToken:
        table, now = await self._access.table(), self._clock()
        signer = await self._keys.signer(table)
        # A directory may know hundreds of groups of somebody; those that nothing is granted to can be done without.
        for held in (principal, table.with_granted_groups(principal)):
            token = self._tokens.issue(signer, held, {}, now, lifetime, use)
            if len(token) <= MOST_LENGTH:
                return IssuedToken(principal.name, token, now, lifetime)
        raise Denied("you are in more groups with grants than a browser can keep: let the issuer send fewer of them")


def visitor_of(token: str, tokens: Tokens, table: AccessTable, now: float) -> Visitor | None:
    """Whose session it is; None where it is none, or counts no longer."""
    try:
        claims = tokens.check(token, table, now)
    except Unauthorized:
        return None
    counts = claims.use == SESSION and now < claims.expires and is_known_elsewhere(claims.principal, table)
    return Visitor(claims.principal, table, session_ends=claims.expires) if counts else None


def owner_of(password: str, name: str, tokens: Tokens, table: AccessTable, now: float) -> Principal | None:
    """Who shows `name` and a password that Sessions.password has made; None where it is none of those.

    Another word that we have signed is as wrong as any text: everybody can get a token. Raises Unauthorized where
    it is somebody else's, or over.
    """
    try:
        claims = tokens.check(password, table, now)
    except Unauthorized:
        return None
    if claims.use != LOGIN:
        return None
    if claims.principal.name != name or not is_known_elsewhere(claims.principal, table):
        raise Unauthorized("the name or the password is wrong")
    if now >= claims.expires:
        raise Unauthorized("this password is over: get another one at /auth/session, with a browser")
    return claims.principal


def is_signed(word: str, tokens: Tokens, table: AccessTable, now: float) -> bool:
    """Whether a word is one that we have signed, whatever for: it is shown to nobody outside."""
    try:
        tokens.check(word, table, now)
    except Unauthorized:
        return False
    return True
