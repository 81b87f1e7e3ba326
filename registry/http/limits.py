"""How much one client may ask: requests a second, and uploads at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from registry.domain.clock import Clock
from registry.domain.rates import Rates
from registry.errors import TooManyRequests

_PAUSE = 5.0  # seconds, for a client with too many uploads


class ClientLimits:
    """Counts in this process. A rate of 0 and a number of 0 are no limit."""

    def __init__(self, account_rate: float, address_rate: float, burst: float, uploads: int, clock: Clock) -> None:
        self._accounts = Rates(account_rate, burst) if account_rate else None
        self._addresses = Rates(address_rate, burst) if address_rate else None
        self._most_uploads = uploads
        self._uploads: Counter[str] = Counter()
        self._clock = clock

    def take_address(self, address: str) -> None:
        """Before anybody looks who it is. Raises TooManyRequests."""
        self._take(self._addresses, address, "this address")

    def take_account(self, name: str) -> None:
        """Raises TooManyRequests."""
        self._take(self._accounts, name, f"the account {name}")

    @contextmanager
    def uploading(self, who: str) -> Iterator[None]:
        """Entered while a client sends the bytes of a blob. Raises TooManyRequests."""
        if self._most_uploads and self._uploads[who] >= self._most_uploads:
            raise TooManyRequests(f"more than {self._most_uploads} uploads at the same time (limits.uploads)", _PAUSE)
        self._uploads[who] += 1
        try:
            yield
        finally:
            self._uploads[who] -= 1
            if not self._uploads[who]:
                del self._uploads[who]

    def _take(self, rates: Rates | None, key: str, whose: str) -> None:
        if rates is not None and (seconds := rates.take(key, self._clock())) > 0:
            raise TooManyRequests(f"too many requests a second by {whose}", seconds)
