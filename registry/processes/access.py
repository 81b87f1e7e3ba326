"""What a process needs to know who asks, and what a node has once of it."""

from __future__ import annotations

from collections.abc import Sequence

from registry.api.operation import Administration
from registry.api.table import OPERATIONS
from registry.auth.accounts import AccountService
from registry.auth.identity import PasswordSource
from registry.auth.issuing import TokenService
from registry.auth.keys import KeyRing, KeyRotation
from registry.auth.logins import Logins, NodeLogins
from registry.auth.passwords import Passwords
from registry.auth.tokens import REFRESH_LIFETIME, Tokens
from registry.config import Settings
from registry.domain.access import AccessTable
from registry.domain.clock import system_clock
from registry.errors import StartupError
from registry.http.addresses import Addresses
from registry.http.api import ApiHandlers
from registry.http.gate import AccessGate, Gate
from registry.http.links import Links
from registry.http.router import Route
from registry.http.tokens import TokenHandlers
from registry.ports import Access, AccessReader, Changes

_SERVICE = "shoal"
_TOKEN_LIFETIME = 300.0  # seconds; docker and podman count any token for a minute, and ask for each operation anew


class ProcessAccess:
    """The gate and the token service of a process; `logins` compares passwords, in the node."""

    def __init__(self, settings: Settings, access: Access, reader: AccessReader) -> None:
        self._settings = settings
        self._access = access
        self._reader = reader
        self._tokens = Tokens(_SERVICE)
        self._keys = KeyRing(reader)
        self._addresses = Addresses(settings.server.public_url, settings.server.trusted_proxies)

    def gate(self, logins: Logins) -> Gate:
        return AccessGate(self._access, logins, self._tokens, self._addresses, system_clock, self._is_closed)

    def routes(self, changes: Changes, logins: Logins) -> list[Route]:
        return [*self._token_routes(logins), *self.api_routes(changes, logins)]

    def api_routes(self, changes: Changes, logins: Logins) -> list[Route]:
        """The administration."""
        settings = self._settings.server
        accounts = AccountService(self._access, changes, logins, system_clock)
        keys = KeyRotation(self._access, self._reader, changes, system_clock, REFRESH_LIFETIME)
        links = Links(settings.public_url)
        return ApiHandlers(OPERATIONS, Administration(accounts, keys), links, settings.body_timeout).routes()

    def _is_closed(self) -> bool:
        """Where others can connect, the door does not fall open with the deletion of the last account."""
        return not self._settings.is_loopback and not self._settings.server.allow_anonymous

    def _token_routes(self, logins: Logins) -> list[Route]:
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


def refuse_open_door(settings: Settings, table: AccessTable) -> None:
    """Raise StartupError if others than this machine could connect, nobody can log in and nobody said that all may."""
    if table.is_empty and not settings.is_loopback and not settings.server.allow_anonymous:
        raise StartupError(
            f"server.listen: {settings.server.listen} can be reached from other machines, and there are no accounts: "
            f"make the first with `{first_account(settings)}`, listen on 127.0.0.1, or let everybody push and delete "
            "with --allow-anonymous (server.allow_anonymous = true, SHOAL_SERVER__ALLOW_ANONYMOUS=true)"
        )


def first_account(settings: Settings) -> str:
    """The command that makes it."""
    return f"shoal user add NAME --admin --data {settings.data}"
