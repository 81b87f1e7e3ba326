"""When what a process remembers has to be compared with the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Protocol

from registry.storage.metadata.commits import CommitCounter

Head = tuple[int, int]
"""The last serial of the journal, and how many links to blobs were removed so far."""
ReadHead = Callable[[], Awaitable[Head]]
CatchUp = Callable[[Head], Awaitable[None]]


class Freshness(Protocol):
    """Before each answer from memory it says how far the database is."""

    def add(self, catch_up: CatchUp) -> None:
        """One more part that remembers something: `catch_up` brings it up to a head. Never called twice at once."""
        ...

    def begin(self, *, looks_once: bool) -> None:
        """A request begins. One that only reads needs one look at the database, however many parts ask for it."""
        ...

    async def ensure(self) -> None:
        """Returns once memory is as new as the last change that was acknowledged before the call."""
        ...

    async def close(self) -> None: ...


class AfterCommits:
    """For a database that one node writes: nothing is asked while the node's count of commits has not moved."""

    def __init__(self, commits: CommitCounter, head: ReadHead) -> None:
        self._commits = commits
        self._head = head
        self._catch_ups: list[CatchUp] = []
        self._seen = -1

    def add(self, catch_up: CatchUp) -> None:
        self._catch_ups.append(catch_up)

    def begin(self, *, looks_once: bool) -> None:
        """A look at the count costs nothing."""

    async def ensure(self) -> None:
        commits = self._commits.value()
        if commits != self._seen:
            head = await self._head()  # reads of SQLite never suspend, so nobody comes between
            for catch_up in self._catch_ups:
                await catch_up(head)
            self._seen = commits

    async def close(self) -> None:
        pass


class _Request:
    """What one request has seen of the database."""

    has_looked = False


_request: ContextVar[_Request | None] = ContextVar("request", default=None)


class BeforeEveryAnswer:
    """For a database that several nodes write: its head is read after the request came.

    One look serves all the requests that wait for it; a request that comes while a look runs waits for the next
    one, as that look may have begun before a change that the request has to see.
    """

    def __init__(self, head: ReadHead, close: Callable[[], Awaitable[None]]) -> None:
        self._head = head
        self._close = close
        self._catch_ups: list[CatchUp] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._looking: asyncio.Task[None] | None = None

    def add(self, catch_up: CatchUp) -> None:
        self._catch_ups.append(catch_up)

    def begin(self, *, looks_once: bool) -> None:
        _request.set(_Request() if looks_once else None)

    async def ensure(self) -> None:
        request = _request.get()
        if request is not None and request.has_looked:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await waiting
        if request is not None:
            request.has_looked = True

    async def _look(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            try:
                head = await self._head()
                for catch_up in self._catch_ups:
                    await catch_up(head)
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
