"""The collector's rounds, one after the other, for as long as the node runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from registry.errors import RegistryError
from registry.services.collect import Collector

log = structlog.get_logger(__name__)

_LAST_ROUND = 5.0  # seconds


class Housekeeping:
    """Runs a round at every interval. `collector` makes the collector of a round from the settings of that moment;
    `before` is awaited before each round.
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
        self._interval = 0.0
        self._changed = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self, interval: float) -> None:
        """Begin; the first round is due after `interval` seconds."""
        self._interval = interval
        self._task = asyncio.create_task(self._rounds())

    def change_interval(self, interval: float) -> None:
        self._interval = interval
        self._changed.set()

    async def stop(self) -> None:
        """Let a running round end, within reason: one that is cut off in the middle loses nothing."""
        self._stopping = True
        self._changed.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_LAST_ROUND)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _rounds(self) -> None:
        await self._until_due()
        while not self._stopping:
            await self._attempt(self._before)
            await self._attempt(self._round)
            await self._until_due()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not self._stopping and (left := began + self._interval - loop.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
            self._changed.clear()

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except RegistryError as error:
            log.error("the collector failed", error=error.message, detail=error.detail)
        except Exception:  # whatever it was, the next round is due all the same
            log.exception("the collector failed")

    async def _round(self) -> None:
        collected = await self._collector().collect()
        if collected.blobs or collected.uploads:
            log.info("collected", blobs=collected.blobs, uploads=collected.uploads)
        self._on_collected(collected.blobs)
