"""The one place where a request is let in: who asks, what its route needs, and the answer where that is too little.

Rights are decided by names and patterns, before anybody looks whether the thing is there: what somebody may not see
answers as what does not exist.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Protocol

from registry.auth.client_certificates import has_ended, identity_of, peer_certificate
from registry.auth.foreign_tokens import ForeignTokens
from registry.auth.logins import Logins, outsider
from registry.auth.replicas import ReplicaTokens, is_replication_token
from registry.auth.sessions import visitor_of
from registry.auth.tokens import ACCESS, Tokens
from registry.auth.visitor import ADMIN, CATALOG, OPEN, Visitor
from registry.domain.access import ANONYMOUS, NOBODY, AccessTable, Principal
from registry.domain.clock import Clock
from registry.domain.names import parse_repository
from registry.errors import Denied, Unauthorized
from registry.http import cookies
from registry.http.addresses import Addresses
from registry.http.limits import ClientLimits
from registry.http.router import Call, Route
from registry.ports import Access

UNKNOWN = "unknown"
"""What the audit log calls somebody who shows a name that is no account's: it may be a password."""

_READING = ("GET", "HEAD")
_NO_RIGHT = ("none",)

_OF_SLAVES = "replicate", "promote"
"""Rights that only a replication token gives."""


class Gate(Protocol):
    """Lets a call in by giving it its visitor."""

    async def admit(self, call: Call, route: Route) -> None:
        """Raises Unauthorized, Denied, TooManyRequests, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What others than the registry say of clients. `realm`, `service`, `tokens`: of a token service that clients are
    sent to in the place of ours. `is_closed`: whether there are people to let in though there are no accounts."""

    is_closed: bool = False
    realm: str = ""
    service: str = ""
    tokens: ForeignTokens | None = None


class OpenGate:
    """The gate of a registry that never has accounts; for tests of what stands behind it."""

    async def admit(self, call: Call, route: Route) -> None:
        call.visitor = OPEN


class AccessGate:
    """The gate of clients."""

    def __init__(
        self,
        access: Access,
        logins: Logins,
        tokens: Tokens,
        replicas: ReplicaTokens,
        addresses: Addresses,
        limits: ClientLimits,
        clock: Clock,
        outside: Outside,
    ) -> None:
        self._access = access
        self._logins = logins
        self._tokens = tokens
        self._replicas = replicas
        self._addresses = addresses
        self._limits = limits
        self._clock = clock
        self._outside = outside

    async def admit(self, call: Call, route: Route) -> None:
        if self._limits.counts_addresses:
            await self._limits.take_address(self._addresses.client(call.request))
        if route.right in _NO_RIGHT:
            return
        table = await self._access.table(looks_once=call.request.method in _READING)
        if table.is_empty and not self._outside.is_closed and route.right != "session":
            if route.right == "admin":  # whoever came first would be the owner of the registry
                raise Denied("there are no accounts: make the first on the server, with shoal user add NAME --admin")
            call.visitor = OPEN
            return
        try:
            call.visitor = visitor = await self._visitor(call, route, table)
        except Unauthorized as error:
            raise Unauthorized(error.message, self._challenge(call, route, "invalid_token")) from error
        call.actor = visitor.principal.name
        if self._limits.counts_accounts and not visitor.principal.is_anonymous and visitor.replica is None:
            await self._limits.take_account(call.actor)
        if visitor.has_expired and not route.outlives_token:
            raise Unauthorized("the token has expired", self._challenge(call, route, "invalid_token"))
        if not _is_enough(visitor, call, route):
            raise self._refusal(visitor, call, route)

    def _refusal(self, visitor: Visitor, call: Call, route: Route) -> Unauthorized | Denied:
        if visitor.principal.is_anonymous:
            # Not the bare words of the code: dockerd takes an error of those alone for one that passes, and tries a
            # push for 50 seconds.
            needed = "a replication token is needed" if route.right in _OF_SLAVES else "log in first"
            return Unauthorized(f"authentication required: {needed}", self._challenge(call, route))
        if visitor.scopes is not None:
            return Unauthorized("the token does not go that far", self._challenge(call, route, "insufficient_scope"))
        return Denied("this account has no right to do that, or there is no such repository")

    async def _visitor(self, call: Call, route: Route, table: AccessTable) -> Visitor:
        """Raises Unauthorized, Denied."""
        kind, _, credentials = call.request.headers.get("Authorization", "").partition(" ")
        match kind.lower():
            case "bearer" if is_replication_token(credentials):
                return self._replica(credentials.strip(), call, route, table)
            case "bearer":
                return self._bearer(credentials.strip(), table)
            case "basic":
                name, password = parse_basic(credentials)
                if not name and not password:  # what podman sends where nobody has logged in
                    return Visitor(NOBODY, table)
                call.actor = name if name in table.accounts else UNKNOWN
                self._addresses.check_private(call.request)
                address = self._addresses.client(call.request)
                return Visitor(await self._logins.login(name, password, address), table)
            case "":
                session = self._session(call, table) if route.takes_session else None
                return session or Visitor(self._certified(call, table), table)
        raise Unauthorized("an unknown kind of authorization: use Bearer or Basic")

    def _replica(self, token: str, call: Call, route: Route, table: AccessTable) -> Visitor:
        """Raises Unauthorized, Denied, TooManyRequests."""
        call.actor = UNKNOWN
        if route.right not in _OF_SLAVES:
            raise Unauthorized("a replication token is good for replication alone")
        self._addresses.check_private(call.request, "replication tokens")
        replica = self._replicas.check(token, table, self._addresses.client(call.request))
        if route.right == "promote" and not replica.may_promote:
            raise Unauthorized("this token is good for copying, and not for taking the master's place (--may-promote)")
        # A name that no account can have: it stands for nobody in any grant.
        return Visitor(Principal(f"replica:{replica.name}"), table, replica=replica)

    def _bearer(self, token: str, table: AccessTable) -> Visitor:
        if self._outside.tokens is not None:
            return self._foreign(self._outside.tokens, token, table)
        now = self._clock()
        claims = self._tokens.check(token, table, now)
        if claims.use != ACCESS or not table.is_current(claims.principal, now):
            raise Unauthorized("the token has been revoked")
        return Visitor(claims.principal, table, claims.scopes, has_expired=now >= claims.expires)

    def _session(self, call: Call, table: AccessTable) -> Visitor | None:
        """Who has logged in with this browser. Raises Denied where a page of others would have it change something."""
        base = self._addresses.base(call.request)
        token = cookies.SESSION.of(call.request, base)
        visitor = visitor_of(token, self._tokens, table, self._clock()) if token else None
        if visitor is None or call.request.method in _READING or cookies.comes_from_own_page(call.request, base):
            return visitor
        call.actor = visitor.name
        raise Denied("only a page of this registry may ask for this, and the browser does not say that one did")

    def _certified(self, call: Call, table: AccessTable) -> Principal:
        """Who the certificate says that the client showed in the TLS handshake. Raises Unauthorized."""
        certificate = peer_certificate(call.request.transport)
        identity = identity_of(certificate)
        principal = None if identity is None else outsider(identity)
        if principal is None:
            return NOBODY
        if has_ended(certificate, self._clock()):
            raise Unauthorized("the certificate has expired since this connection began")
        if not table.is_current(principal, self._clock()):
            raise Unauthorized("the account of this certificate is disabled")
        return principal

    def _foreign(self, tokens: ForeignTokens, token: str, table: AccessTable) -> Visitor:
        access = tokens.access_of(token)
        if access is None:
            raise Unauthorized("the token is none of the token service")
        scopes = {**access.repositories, **({CATALOG: frozenset({"*"})} if access.catalogue else {})}
        return Visitor(Principal(access.name or ANONYMOUS), table, scopes, is_foreign=True)

    def _challenge(self, call: Call, route: Route, error: str = "") -> str:
        """The header WWW-Authenticate, which says where tokens come from and which scope is needed."""
        realm = self._outside.realm or f"{self._addresses.base(call.request)}/auth/token"
        service = self._outside.service or self._tokens.service
        fields = {"realm": realm, "service": service, "scope": _scope(call, route), "error": error}
        return "Bearer " + ",".join(f'{name}="{value}"' for name, value in fields.items() if value)


def _is_enough(visitor: Visitor, call: Call, route: Route) -> bool:
    match route.right:
        case "session":
            return visitor.session_ends is not None
        case "known":  # anybody who has shown who they are
            return not visitor.principal.is_anonymous or visitor.scopes is not None
        case "catalog":
            return visitor.may_ask_for_lists
        case "admin":
            return visitor.may_administer
        case "replicate":
            return visitor.may_replicate
        case "promote":
            return visitor.may_promote
        case right:
            return visitor.may(right, parse_repository(call.parameters["name"]))


def _scope(call: Call, route: Route) -> str:
    match route.right:
        case "known" | "session" | "replicate" | "promote":  # no scope of a token is for slaves
            return ""
        case "catalog":
            return f"{CATALOG}:*"
        case "admin":
            return f"{ADMIN}:*"
        case "push":  # clients that push want to look, too
            return f"repository:{parse_repository(call.parameters['name'])}:pull,push"
        case "pull" if route.label == "blob" and call.request.method == "HEAD":
            # Whoever only looks for a blob is about to push, and oras asks for no other token after this challenge.
            return f"repository:{parse_repository(call.parameters['name'])}:pull,push"
        case right:
            return f"repository:{parse_repository(call.parameters['name'])}:{right}"


def parse_basic(credentials: str) -> tuple[str, str]:
    """Name and password (RFC 7617). Raises Unauthorized."""
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError as error:  # no base64, no ASCII, no UTF-8
        raise Unauthorized("the header Authorization cannot be read") from error
    name, colon, password = text.partition(":")
    if not colon:
        raise Unauthorized("the header Authorization cannot be read")
    return name, password
