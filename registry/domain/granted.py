"""What one subject was granted, found by the name of a repository without trying every pattern; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from registry.domain.patterns import fits

Rights = frozenset[str]


def beginnings(repository: str) -> list[str]:
    """All that the name begins with, part by part: "", "team", "team/app"."""
    found, at = [""], repository.find("/")
    while at >= 0:
        found.append(repository[:at])
        at = repository.find("/", at + 1)
    return [*found, repository]


def plain_beginning(pattern: str) -> str:
    """The parts of a pattern before the first with a star: what fits it begins with them."""
    return "/".join(takewhile(lambda part: "*" not in part, pattern.split("/")))


class Granted:
    """Rights by pattern, each pattern under its plain beginning: a name has few beginnings, whoever has many grants."""

    __slots__ = ("_patterns",)

    def __init__(self) -> None:
        self._patterns: dict[str, dict[str, Rights]] = {}

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def put(self, pattern: str, rights: Rights) -> None:
        self._patterns.setdefault(plain_beginning(pattern), {})[pattern] = rights

    def drop(self, pattern: str) -> None:
        beginning = plain_beginning(pattern)
        patterns = self._patterns.get(beginning, {})
        patterns.pop(pattern, None)
        if not patterns:
            self._patterns.pop(beginning, None)

    def items(self) -> Iterator[tuple[str, Rights]]:
        return (item for patterns in self._patterns.values() for item in patterns.items())

    def rights(self, repository: str, begins_with: Sequence[str]) -> Rights:
        """On a repository; `begins_with`: its beginnings."""
        found: Rights = frozenset()
        for beginning in begins_with:
            for pattern, rights in self._patterns.get(beginning, {}).items():
                if not rights <= found and fits(pattern, repository):
                    found |= rights
        return found
