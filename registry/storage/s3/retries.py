"""Whether to ask a store again, and when; no I/O.

Full jitter, as in Amazon's "Exponential Backoff And Jitter": a crowd of nodes that all met the same failure does
not come back at the same moment.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_WAIT = 0.1  # seconds
_LONGEST_WAIT = 3.0  # seconds
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "InternalError", "ExpiredToken"})


@dataclass(frozen=True, slots=True)
class Failure:
    """What a store said, or (status 0) that nothing came. `code` is the one in the body of its answer; `region` the
    one where it says that the bucket is."""

    status: int = 0
    code: str = ""
    retry_after: float = 0.0
    region: str = ""

    @property
    def passes(self) -> bool:
        """Whether the same request may well succeed later."""
        return self.status == 0 or self.status in _PASSING_STATUS or self.code in _PASSING_CODES


def wait(failure: Failure, attempt: int, elapsed: float, budget: float, chance: float) -> float | None:
    """Seconds until the next attempt, None to give up.

    `attempt` counts from 0; `elapsed` and `budget` are seconds since the first attempt and allowed in all;
    `chance` is a random number between 0 and 1.
    """
    if not failure.passes:
        return None
    seconds = max(chance * min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(attempt, 10)), min(failure.retry_after, 10.0))
    return seconds if elapsed + seconds <= budget else None
