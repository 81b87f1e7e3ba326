"""Replication tokens: who may copy the registry, and what an administrator does with them.

A token is 256 random bits behind the name of its slave, so no password hash is needed: SHA-256 of it is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from registry.domain.access import REPLICA, AccessTable, Replica, encode, parse_account
from registry.domain.changes import SetRecord
from registry.domain.clock import Clock
from registry.domain.networks import network_of
from registry.domain.patterns import parse_pattern
from registry.domain.throttle import FailedLogins
from registry.errors import AccessInvalid, TooManyRequests, Unauthorized
from registry.ports import Access, Changes

PREFIX = "shoal-replica-"
_BYTES = 32
_LONGEST = 200
_UNKNOWN = "unknown"


def is_replication_token(token: str) -> bool:
    """Whether it is meant to be one."""
    return token.startswith(PREFIX)


def _name_in(token: str) -> str:
    """The slave that a token says it is of."""
    return token.removeprefix(PREFIX).rpartition("-")[0]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


class ReplicaTokens:
    """Says whose token one is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = FailedLogins()

    def check(self, token: str, table: AccessTable, address: str) -> Replica:
        """`address`: of the client. Raises Unauthorized, or TooManyRequests where many were wrong.

        The right one is taken even then: nobody guesses 256 bits, and whoever tries keeps no slave out.
        """
        name = _name_in(token) if len(token) <= _LONGEST else ""
        replica = table.replicas.get(name)
        if replica is not None and hmac.compare_digest(_hash(token), replica.hash):
            return replica
        client, now, name = network_of(address), self._clock(), replica.name if replica else _UNKNOWN
        if (seconds := self._failures.wait(client, name, now)) > 0:
            raise TooManyRequests("too many wrong tokens from this address; wait before the next try", seconds)
        self._failures.failed(client, name, now)
        raise Unauthorized("the replication token is wrong, or was taken back")


class ReplicaService:
    """Makes and takes back replication tokens. Raises AccessInvalid, AccessExists, AccessUnknown."""

    def __init__(self, access: Access, changes: Changes, clock: Clock) -> None:
        self._access = access
        self._changes = changes
        self._clock = clock

    async def replicas(self) -> Sequence[Replica]:
        known = (await self._access.table()).replicas
        return [known[name] for name in sorted(known)]

    async def create(
        self, name: str, repositories: Sequence[str] = (), *, may_promote: bool = False
    ) -> tuple[Replica, str]:
        """A slave of that name, and its token, which nobody sees again. `repositories`: patterns, none for everything.

        Raises AccessInvalid too where a slave of some repositories were to take the place of a master of all of them.
        """
        patterns = tuple(dict.fromkeys(map(parse_pattern, repositories)))
        if patterns and may_promote:
            raise AccessInvalid("a slave of some repositories cannot take its master's place: leave out one of the two")
        token = f"{PREFIX}{parse_account(name)}-{secrets.token_hex(_BYTES)}"
        made = Replica(name, secrets.token_hex(8), self._clock(), _hash(token), patterns, may_promote)
        await self._changes.submit(SetRecord(REPLICA, name, encode(made), expected="new"))
        return made, token

    async def delete(self, name: str) -> None:
        """Its token is void at once, and what it was copying ends."""
        await self._changes.submit(SetRecord(REPLICA, name, "", expected="known"))
