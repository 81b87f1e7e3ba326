"""When what a process remembers has to be compared with the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from registry.storage.metadata.commits import CommitCounter

Head = tuple[int, int]
"""The last serial of the journal, and how many links to blobs were removed so far."""
ReadHead = Callable[[], Awaitable[Head]]
CatchUp = Callable[[Head], Awaitable[None]]


class Freshness(Protocol):
    """Before each answer from memory it says how far the database is."""

    async def ensure(self, catch_up: CatchUp) -> None:
        """Returns once memory is as new as the last change that was acknowledged before the call."""
        ...

    async def close(self) -> None: ...


class AfterCommits:
    """For a database that one node writes: nothing is asked while the node's count of commits has not moved."""

    def __init__(self, commits: CommitCounter, head: ReadHead) -> None:
        self._commits = commits
        self._head = head
        self._seen = -1

    async def ensure(self, catch_up: CatchUp) -> None:
        commits = self._commits.value()
        if commits != self._seen:
            await catch_up(await self._head())
            self._seen = commits

    async def close(self) -> None:
        pass


class BeforeEveryAnswer:
    """For a database that several nodes write: its head is read after the request came.

    One look serves all the requests that wait for it; a request that comes while a look runs waits for the next
    one, as that look may have begun before a change that the request has to see.
    """

    def __init__(self, head: ReadHead, close: Callable[[], Awaitable[None]]) -> None:
        self._head = head
        self._close = close
        self._waiting: list[asyncio.Future[None]] = []
        self._looking: asyncio.Task[None] | None = None

    async def ensure(self, catch_up: CatchUp) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(catch_up))
        await waiting

    async def _look(self, catch_up: CatchUp) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            try:
                await catch_up(await self._head())
            except Exception as error:
                failed: Exception | None = error
            else:
                failed = None
            for waiting in asked:
                if waiting.done():  # the client has gone
                    continue
                if failed is None:
                    waiting.set_result(None)
                else:
                    waiting.set_exception(failed)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await self._close()
