"""People who come with a browser: the way to their OpenID Connect issuer, and who comes back from there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from registry.auth.logins import outsider
from registry.auth.oidc import Login, OidcIssuer
from registry.auth.sessions import is_known_elsewhere
from registry.domain.access import Principal
from registry.errors import Denied, TooManyRequests
from registry.ports import Access

MOST_UNDER_WAY = 50
"""People whom one issuer is asked about at once: what waits for one that does not answer has an end."""
_PAUSE = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Return:
    """What a browser came back with from `issuer`, and what it had kept of its Login.

    `named`: the issuer that the answer itself names (RFC 9207), "" where it names none; `redirect_uri`: the address
    that the browser was sent back to.
    """

    issuer: str
    code: str = field(repr=False)
    named: str
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    redirect_uri: str


class People(Protocol):
    """Logins with a browser. Both raise Denied, TooManyRequests, and Unavailable where the issuer is away."""

    async def way_to(self, issuer: str, login: Login, redirect_uri: str) -> str:
        """Where to send the browser."""
        ...

    async def who_came(self, back: Return) -> Principal:
        """Who it is. `detail["account"]` of a Denied: whose name an account has already."""
        ...


class NodePeople:
    """People of a node: its issuers are asked from one place, however many workers there are."""

    def __init__(self, issuers: Sequence[OidcIssuer], access: Access) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers if issuer.has_people}
        self._access = access
        self._under_way: Counter[str] = Counter()

    async def way_to(self, issuer: str, login: Login, redirect_uri: str) -> str:
        with self._one_more(issuer):
            return await self._issuer(issuer).authorization_url(login, redirect_uri)

    async def who_came(self, back: Return) -> Principal:
        with self._one_more(back.issuer):
            issuer = self._issuer(back.issuer)
            await issuer.check_named(back.named)
            identity = await issuer.exchange(back.code, back.verifier, back.nonce, back.redirect_uri)
        principal = outsider(identity)
        if principal is None:
            raise Denied(
                f"{back.issuer} calls you {identity.name[:100]!r}, which cannot be a name here: names are 1 to 64 of "
                "a-z, 0-9, '.', '_' and '-' (another name_claim may help)"
            )
        if not is_known_elsewhere(principal, await self._access.table()):
            said = f"{principal.name} is an account of this registry, which logs in with its own password"
            raise Denied(said, {"account": principal.name})
        return principal

    def _issuer(self, issuer: str) -> OidcIssuer:
        found = self._issuers.get(issuer)
        if found is None:
            raise Denied("nobody logs in here by that issuer (any more)")
        return found

    @contextmanager
    def _one_more(self, issuer: str) -> Iterator[None]:
        if self._under_way[issuer] >= MOST_UNDER_WAY:
            raise TooManyRequests("too many people log in at once; try again", _PAUSE)
        self._under_way[issuer] += 1
        try:
            yield
        finally:
            self._under_way[issuer] -= 1
            if not self._under_way[issuer]:
                del self._under_way[issuer]
