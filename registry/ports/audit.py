"""Where it is told what happened."""

from __future__ import annotations

from typing import Protocol

from registry.domain.audit import AuditEntry


class Audit(Protocol):
    """The audit log of the node."""

    def note(self, entry: AuditEntry) -> None:
        """It is written soon; never fails, never waits."""
        ...

    async def record(self, entry: AuditEntry) -> None:
        """Returns once it is durable. Raises StorageFailure, Unavailable."""
        ...
