"""When somebody who fails may try again; no I/O.

What slows down is an address together with a name, and an address as such: so whoever guesses at an account from
elsewhere never keeps its owner out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_FREE = 5
_FREE_OF_ADDRESS = 50
_LONGEST = 60.0  # seconds
_FORGOTTEN_AFTER = 900.0  # seconds
_MOST = 10_000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last: float = 0.0


class FailedLogins:
    """Counts failures and says how long to wait after them: twice as long each time, up to a minute."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def wait(self, address: str, name: str, now: float) -> float:
        """Seconds before the next try; 0 where it may come now."""
        return max(self._wait((address, name), _FREE, now), self._wait((address, ""), _FREE_OF_ADDRESS, now))

    def failed(self, address: str, name: str, now: float) -> None:
        for key in ((address, name), (address, "")):
            failures = self._known.setdefault(key, _Failures())
            if now - failures.last > _FORGOTTEN_AFTER:
                failures.count = 0
            failures.count += 1
            failures.last = now
            self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """The owner is there; what others tried from the same address goes on counting for the address."""
        self._known.pop((address, name), None)

    def _wait(self, key: tuple[str, str], free: int, now: float) -> float:
        failures = self._known.get(key)
        if failures is None or failures.count <= free:
            return 0.0
        pause = min(_LONGEST, 2.0 ** min(failures.count - free - 1, 10))
        return max(0.0, failures.last + pause - now)
