"""The collector's rounds, one after the other, for as long as the node runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from registry.errors import RegistryError
from registry.services.collect import Collector

log = structlog.get_logger(__name__)


class Housekeeping:
    """Runs a round at every interval. `collector` makes the collector of a round from the settings of that moment;
    `before` is awaited once, before the first round.
    """

    def __init__(
        self,
        collector: Callable[[], Collector],
        before: Callable[[], Awaitable[None]],
        on_collected: Callable[[int], None],
    ) -> None:
        self._collector = collector
        self._before = before
        self._on_collected = on_collected
        self._task: asyncio.Task[None] | None = None

    def start(self, interval: float) -> None:
        """Begin, or go on with another interval (seconds)."""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._rounds(interval))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _rounds(self, interval: float) -> None:
        prepared = False
        while True:
            await asyncio.sleep(interval)
            try:
                if not prepared:
                    await self._before()
                    prepared = True
                collected = await self._collector().collect()
            except RegistryError as error:
                log.error("the collector's round failed", error=error.message, detail=error.detail)
                continue
            except Exception:  # whatever it was, the next round is due all the same
                log.exception("the collector's round failed")
                continue
            if collected.blobs or collected.uploads:
                log.info("collected", blobs=collected.blobs, uploads=collected.uploads)
            self._on_collected(collected.blobs)
