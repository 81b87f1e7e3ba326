"""How the master of a log changes, as the node does it once for all its processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from registry.domain.succession import Claim


@dataclass(frozen=True, slots=True)
class Promotion:
    """What an administrator asks of a slave. `graceful`: the master hands over first, and nothing is lost. `force`:
    even where the master lives. `url`: where the new master takes pushes, "" for what its settings say."""

    graceful: bool = False
    force: bool = False
    url: str = ""


@dataclass(frozen=True, slots=True)
class Promoted:
    """The epoch that began, the serial `after` which it goes on, and what of the log up to there was not complete here
    and is gone: so many changes, in these repositories (some of them, where they are many)."""

    claim: Claim
    lost_changes: int
    lost_in: tuple[str, ...]


class Succession(Protocol):
    """All raise StorageFailure, Unavailable."""

    async def promote(self, asked: Promotion) -> Promoted:
        """Take the place of the master. Raises RequestInvalid where this is no slave that can, PromotionRefused where
        the master lives, or cannot hand over."""
        ...

    async def hand_over(self, seconds: float) -> None:
        """Take nothing for so long (0: from now on again). Raises ReadOnly on a slave and on a former master."""
        ...

    async def give_way(self, claim: Claim) -> None:
        """Another node has taken the place of this one. Raises SucceededAlready, ReadOnly on a slave."""
        ...
