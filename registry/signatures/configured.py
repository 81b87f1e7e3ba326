"""Policies that do not change: those of the settings, for as long as these are in force."""

from __future__ import annotations

from collections.abc import Iterable

from registry.domain.signing import SignaturePolicy

_REMEMBERED = 10_000


class ConfiguredPolicies:
    """SignaturePolicies of a fixed list."""

    def __init__(self, policies: Iterable[SignaturePolicy]) -> None:
        self._policies = tuple(policies)
        self._known: dict[str, tuple[SignaturePolicy, ...]] = {}

    def for_repository(self, repository: str) -> tuple[SignaturePolicy, ...]:
        """The same tuple each time, so that comparing two answers is one look."""
        found = self._known.get(repository)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = tuple(policy for policy in self._policies if policy.covers(repository))
            self._known[repository] = found
        return found
