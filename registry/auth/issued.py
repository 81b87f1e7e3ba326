"""What somebody is given who has shown who they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """For the account `who`; `lifetime` in seconds from `issued` (seconds since the epoch).

    `refresh`: a token that gets others, for accounts alone, or "".
    """

    who: str
    token: str
    issued: float
    lifetime: float
    refresh: str = ""
