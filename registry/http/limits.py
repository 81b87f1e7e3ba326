"""How much one client may ask: requests a second, and uploads at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from registry.domain.clock import Clock
from registry.domain.networks import network_of
from registry.domain.rates import Rates
from registry.errors import TooManyRequests

_PAUSE = 5.0  # seconds, for a client with too many uploads


class SharedRates(Protocol):
    """Buckets that several nodes share."""

    async def take(self, key: str, rate: float, burst: float) -> float | None:
        """As Rates.take; None where they cannot be asked just now."""
        ...


@dataclass(frozen=True, slots=True)
class MostRequests:
    """Requests a second by an account and by an address, how many may come at once; and uploads at the same time.

    0 is without limit.
    """

    account_rate: float = 0.0
    address_rate: float = 0.0
    burst: float = 1.0
    uploads: int = 0


class ClientLimits:
    """Counts over all nodes where there are `shared` rates that answer, else in this process alone.

    `processes`: how many share the load of this node, each of which gets its part of the rates then.
    """

    def __init__(self, most: MostRequests, processes: int, clock: Clock, shared: SharedRates | None) -> None:
        self._most = most
        self._accounts = Rates(most.account_rate / processes, most.burst)
        self._addresses = Rates(most.address_rate / processes, most.burst)
        self._uploads: Counter[str] = Counter()
        self._clock = clock
        self._shared = shared

    @property
    def counts_addresses(self) -> bool:
        return self._most.address_rate > 0

    @property
    def counts_accounts(self) -> bool:
        return self._most.account_rate > 0

    async def take_address(self, address: str) -> None:
        """Before anybody looks who it is. Raises TooManyRequests."""
        if self.counts_addresses:
            await self._take(self._addresses, self._most.address_rate, f"address {network_of(address)}")

    async def take_account(self, name: str) -> None:
        """Raises TooManyRequests."""
        if self.counts_accounts:
            await self._take(self._accounts, self._most.account_rate, f"account {name}")

    @contextmanager
    def uploading(self, who: str) -> Iterator[None]:
        """Entered while a client sends the bytes of a blob. Raises TooManyRequests."""
        most = self._most.uploads
        if most and self._uploads[who] >= most:
            raise TooManyRequests(f"more than {most} uploads at the same time (limits.uploads)", _PAUSE)
        self._uploads[who] += 1
        try:
            yield
        finally:
            self._uploads[who] -= 1
            if not self._uploads[who]:
                del self._uploads[who]

    async def _take(self, own: Rates, rate: float, key: str) -> None:
        seconds = None if self._shared is None else await self._shared.take(key, rate, self._most.burst)
        if seconds is None:
            seconds = own.take(key, self._clock())
        if seconds > 0:
            raise TooManyRequests(f"too many requests a second by the {key} (limits)", seconds)
