"""What a process needs to know who asks, and what a node has once of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from registry.auth.identity import PasswordSource
from registry.auth.issuing import TokenService
from registry.auth.keys import KeyRing, KeyRotation
from registry.auth.logins import Logins, NodeLogins
from registry.auth.passwords import Passwords
from registry.auth.tokens import REFRESH_LIFETIME, Tokens
from registry.config import Settings
from registry.domain.access import ANONYMOUS
from registry.domain.clock import system_clock
from registry.http.addresses import Addresses
from registry.http.gate import AccessGate, Gate
from registry.http.limits import ClientLimits
from registry.http.router import Call, Route
from registry.http.tokens import TokenHandlers
from registry.ports import Access, AccessReader, Changes

_SERVICE = "shoal"
_TOKEN_LIFETIME = 300.0  # seconds; docker and podman count any token for a minute, and ask for each operation anew


class ProcessAccess:
    """The gate and the token service of a process; `logins` compares passwords, in the node."""

    def __init__(self, settings: Settings, access: Access, reader: AccessReader) -> None:
        self._settings = settings
        self._access = access
        self._tokens = Tokens(_SERVICE)
        self._keys = KeyRing(reader)
        limits, workers = settings.limits, settings.server.workers
        self._limits = ClientLimits(
            limits.account_rate / workers, limits.address_rate / workers, limits.burst, limits.uploads, system_clock
        )
        self._addresses = Addresses(settings.server.public_url, settings.server.trusted_proxies)

    def uploading(self, call: Call) -> AbstractContextManager[None]:
        """Entered while a client sends the bytes of a blob. Raises TooManyRequests."""
        is_known = call.actor not in ("", ANONYMOUS)
        return self._limits.uploading(call.actor if is_known else self._addresses.client(call.request))

    def gate(self, logins: Logins) -> Gate:
        return AccessGate(
            self._access, logins, self._tokens, self._addresses, self._limits, system_clock, lambda: False
        )

    def routes(self, logins: Logins) -> list[Route]:
        service = TokenService(self._access, logins, self._tokens, self._keys, system_clock, _TOKEN_LIFETIME)
        return TokenHandlers(service, self._addresses, self._settings.server.body_timeout).routes()


class NodeAccess:
    """What a node has once: the comparing of passwords, and the keys."""

    def __init__(
        self, access: Access, reader: AccessReader, changes: Changes, sources: Sequence[PasswordSource] = ()
    ) -> None:
        self._passwords = Passwords()
        self.logins = NodeLogins(access, self._passwords, sources, system_clock)
        self.keys = KeyRotation(access, reader, changes, system_clock, REFRESH_LIFETIME)

    def close(self) -> None:
        self._passwords.close()
