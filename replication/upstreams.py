"""Which of several addresses a slave follows: one that answers, and always the log of the highest epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from replication.client import UpstreamClient, UpstreamError

log = structlog.get_logger(__name__)

_LOOK_EVERY = 5.0  # seconds


class Upstreams:
    """`client` asks the address that is followed; `others` are those that may have the same log too."""

    def __init__(self, client: UpstreamClient, others: Sequence[str]) -> None:
        self._client = client
        self._others = list(others)

    @property
    def are_several(self) -> bool:
        return bool(self._others)

    def turn(self) -> None:
        """Follow the next one."""
        if self._others:
            self._follow(self._others[0])

    async def better(self, epoch: Callable[[], Awaitable[int]]) -> None:
        """Returns once another address, which is followed from then on, is where the log went on when somebody took the
        place of the master. `epoch`: of what the slave has."""
        if not self._others:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            known = await epoch()
            for url in self._others:
                if await self._is_beyond(url, known):
                    log.warning("another node has taken the place of the master: it is followed", url=url)
                    self._follow(url)
                    return

    async def _is_beyond(self, url: str, epoch: int) -> bool:
        try:
            found = await self._client.epoch(url)
        except UpstreamError:
            return False  # one of several may be away
        return found.number > epoch and found.promotion

    def _follow(self, url: str) -> None:
        self._others.remove(url)
        self._others.append(self._client.url)
        self._client.url = url
