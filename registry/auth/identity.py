"""Who somebody is, as a source outside of the registry says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """`name` of the account that grants are made to; `groups` that the source vouches for."""

    name: str
    groups: tuple[str, ...] = ()


class PasswordSource(Protocol):
    """Knows passwords that the registry does not."""

    async def check(self, name: str, password: str) -> Identity | None:
        """None where the source does not know the name, or the password is wrong; both take as long.

        Raises Unavailable where the source cannot be asked just now.
        """
        ...
