"""What a process needs to know who asks, and what a node has once of it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from registry.api.operation import Administration
from registry.api.table import OPERATIONS
from registry.auth.accounts import AccountService
from registry.auth.foreign_tokens import ForeignTokens
from registry.auth.issuing import TokenService
from registry.auth.keys import KeyRing, KeyRotation
from registry.auth.logins import Logins, NodeLogins
from registry.auth.passwords import Passwords
from registry.auth.people import NodePeople
from registry.auth.replicas import ReplicaService, ReplicaTokens
from registry.auth.sessions import Sessions
from registry.auth.sources import Sources
from registry.auth.tokens import REFRESH_LIFETIME, Tokens
from registry.auth_settings import AuthSettings
from registry.config import Settings
from registry.domain.access import ANONYMOUS
from registry.domain.clock import system_clock
from registry.http.addresses import Addresses
from registry.http.api import ApiHandlers
from registry.http.gate import AccessGate, Gate, Outside
from registry.http.limits import ClientLimits, MostRequests, SharedRates
from registry.http.links import Links
from registry.http.login import LoginHandlers
from registry.http.router import Call, Route
from registry.http.session import SessionHandlers
from registry.http.tokens import TokenHandlers
from registry.ports import Access, AccessReader, Changes
from registry.ports.replication import FeedReader, ReplicaReader
from registry.processes.greeting import has_people, is_kept_shut
from registry.processes.node_parts import NodeParts
from registry.services.own_replication import OwnReplication
from registry.services.slaves import SlaveService


class ProcessAccess:
    """The gate and the token service of a process; `logins` compares passwords, in the node."""

    def __init__(
        self,
        settings: Settings,
        access: Access,
        reader: AccessReader,
        feed: FeedReader,
        replica: ReplicaReader,
        shared: SharedRates | None,
    ) -> None:
        self._settings = settings
        self._access = access
        self._reader = reader
        self._feed = feed
        self._replica = replica
        self._tokens = Tokens(settings.auth.service)
        self._replicas = ReplicaTokens(system_clock)
        self._keys = KeyRing(reader)
        asked = settings.limits
        most = MostRequests(asked.account_rate, asked.address_rate, asked.burst, asked.uploads)
        self._limits = ClientLimits(most, settings.server.workers, system_clock, shared)
        self._outside = _outside(settings)
        self._addresses = Addresses(settings.server.public_url, settings.server.trusted_proxies)

    def uploading(self, call: Call) -> AbstractContextManager[None]:
        """Entered while a client sends the bytes of a blob. Raises TooManyRequests."""
        is_known = call.actor not in ("", ANONYMOUS)
        return self._limits.uploading(call.actor if is_known else self._addresses.client(call.request))

    def gate(self, logins: Logins) -> Gate:
        parts = (self._access, logins, self._tokens, self._replicas, self._addresses, self._limits, system_clock)
        return AccessGate(*parts, self._outside)

    @property
    def is_closed(self) -> bool:
        """Whether clients have to say who they are, even while there are no accounts."""
        return self._outside.is_closed

    def routes(self, parts: NodeParts) -> list[Route]:
        return [*self._token_routes(parts.logins), *self._browser_routes(parts), *self.api_routes(parts)]

    def api_routes(self, parts: NodeParts) -> list[Route]:
        """The administration."""
        settings = self._settings.server
        accounts = AccountService(self._access, parts.changes, parts.logins, system_clock)
        keys = KeyRotation(self._access, self._reader, parts.changes, system_clock, REFRESH_LIFETIME)
        replicas = ReplicaService(self._access, parts.changes, system_clock)
        slaves = SlaveService(parts.slaves, self._feed, system_clock)
        asked = self._settings.replication
        own = OwnReplication(asked.master if asked.is_slave else "", self._replica, parts.changes)
        to = Administration(accounts, keys, replicas, slaves, own, parts.succession)
        return ApiHandlers(OPERATIONS, to, Links(settings.public_url), settings.body_timeout).routes()

    def _token_routes(self, logins: Logins) -> list[Route]:
        lifetime = self._settings.auth.token_lifetime
        service = TokenService(self._access, logins, self._tokens, self._keys, system_clock, lifetime)
        return TokenHandlers(service, self._addresses, self._settings.server.body_timeout).routes()

    def _browser_routes(self, parts: NodeParts) -> list[Route]:
        auth = self._settings.auth
        lifetimes = auth.session_lifetime, auth.login_lifetime
        sessions = Sessions(self._access, self._tokens, self._keys, system_clock, *lifetimes)
        issuers = [oidc.issuer for oidc in auth.oidc if oidc.client_id]
        logins = LoginHandlers(parts.people, sessions, issuers, self._addresses)
        return [*logins.routes(), *SessionHandlers(sessions, self._addresses).routes()]


class NodeAccess:
    """What a node has once: the comparing of passwords, the issuers of people, and the keys."""

    def __init__(self, access: Access, reader: AccessReader, changes: Changes, settings: AuthSettings) -> None:
        """Raises StartupError where a file that is named cannot be used."""
        self._passwords = Passwords()
        self._sources = Sources(settings)
        tokens = Tokens(settings.service)
        self.logins = NodeLogins(access, self._passwords, self._sources.passwords, system_clock, tokens)
        self.people = NodePeople(self._sources.issuers, access)
        self.keys = KeyRotation(access, reader, changes, system_clock, REFRESH_LIFETIME)

    async def close(self) -> None:
        await self._sources.close()
        self._passwords.close()


def _outside(settings: Settings) -> Outside:
    """Raises StartupError where the file of keys cannot be used."""
    token = settings.auth.token
    if token.realm:
        return Outside(True, token.realm, token.service, ForeignTokens(token))
    return Outside(has_people(settings.auth) or is_kept_shut(settings))
