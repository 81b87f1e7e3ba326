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
        self._first = client.url
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
        place of the master, or is the first of all and its master lives again. `epoch`: of what the slave has."""
        if not self._others:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            known = await epoch()
            for url in self._others:
                if await self._is_better(url, known):
                    log.warning("another address of the log is followed", url=url)
                    self._follow(url)
                    return

    async def _is_better(self, url: str, epoch: int) -> bool:
        try:
            found = await self._client.epoch(url)
            if found.number > epoch:
                return found.promotion
            return url == self._first and found.writes and (await self._client.epoch()).id == found.id
        except UpstreamError:
            return False  # one of several may be away

    def _follow(self, url: str) -> None:
        self._others.remove(url)
        self._others.append(self._client.url)
        self._client.url = url
