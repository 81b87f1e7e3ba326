"""Which signatures a repository asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from registry.domain.signing import SignaturePolicy


class SignaturePolicies(Protocol):
    """The policies of repositories. They may change while the process runs."""

    def for_repository(self, repository: str) -> Sequence[SignaturePolicy]:
        """The policies that cover a repository, all of which have to be satisfied. Asked at every pull: no I/O."""
        ...
