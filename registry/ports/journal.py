"""Changes of the metadata, and the journal that each of them is written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from registry.domain.changes import Change, Outcome
from registry.domain.events import JournalEvent


class Changes(Protocol):
    """The one way to change metadata: each change and its journal event are one transaction."""

    async def submit(self, change: Change) -> Outcome:
        """Returns once the change is durable; raises the RegistryError that refused it.

        Submitting a change again whose answer was lost does no harm.
        """
        ...


class Journal(Protocol):
    """Reads of the journal, for replicas and for those who check it."""

    async def events(self, after: int, limit: int) -> Sequence[JournalEvent]: ...
