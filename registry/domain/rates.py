"""How often somebody may ask: a bucket of tokens for each, which fills at a rate (RFC 2697 has the idea); no I/O."""

from __future__ import annotations

from collections import OrderedDict

_MOST = 20_000


class Rates:
    """`rate`: requests a second that go on for ever; `burst`: how many may come at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """0 where the request may pass, else how many seconds to wait."""
        level, since = self._known.get(key, (self._burst, now))
        level = min(self._burst, level + max(0.0, now - since) * self._rate)
        passes = level >= 1.0
        self._known[key] = (level - 1.0 if passes else level), now
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return 0.0 if passes else (1.0 - level) / self._rate
