"""What is left over in an object store: removed some time after nothing needs it, so that running reads can end."""

from __future__ import annotations

import structlog

from registry.domain.changes import ForgetLeftovers
from registry.domain.clock import Clock
from registry.domain.upload import Leftover
from registry.errors import RegistryError
from registry.ports import Changes, Remains, SessionReader

log = structlog.get_logger(__name__)


class LeftoverCollector:
    """`delay`: seconds for which a leftover stays; longer than an address that was given out is valid."""

    def __init__(self, reader: SessionReader, remains: Remains, changes: Changes, clock: Clock, delay: float) -> None:
        self._reader = reader
        self._remains = remains
        self._changes = changes
        self._clock = clock
        self._delay = delay

    async def collect(self) -> int:
        """Remove what is due; returns how much that was. What the store does not take stays for the next round."""
        count = 0
        while due := await self._reader.leftovers(self._clock() - self._delay):
            removed = [leftover for leftover in due if await self._removed(leftover)]
            if removed:
                await self._changes.submit(ForgetLeftovers(tuple(removed)))
            count += len(removed)
            if len(removed) < len(due):
                break
        return count

    async def _removed(self, leftover: Leftover) -> bool:
        try:
            await self._remains.remove(leftover)
        except RegistryError as error:
            log.error("what is left over in the store cannot be removed", key=leftover.key, error=error.message)
            return False
        return True
