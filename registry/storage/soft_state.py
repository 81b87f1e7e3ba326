"""What nodes tell each other through Redis: only things that may be wrong or gone at any time.

No answer to a client depends on it: without Redis, with an empty one or with one that lies, every request is
answered the same.
"""

from __future__ import annotations

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

_PREFIX = "shoal:node:"
_EVERY = 5.0  # seconds
_EXPIRES_AFTER = 15  # seconds
_PATIENCE = 0.5  # seconds
_BROKEN = (RedisError, OSError, TimeoutError, ValueError)


class SoftState:
    """Which nodes are up, as they say. `url`: redis://HOST:PORT/DB."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)

    async def announce(self, node: str) -> None:
        """Say that this node is up, for as long as this runs."""
        silent = False
        while True:
            try:
                await self._redis.set(f"{_PREFIX}{node}", b"up", ex=_EXPIRES_AFTER)
                silent = False
            except _BROKEN as error:
                if not silent:
                    log.warning("redis does not answer; nothing depends on it", error=str(error))
                silent = True
            await asyncio.sleep(_EVERY)

    async def note(self) -> str:
        """One line for an operator."""
        try:
            found = [key async for key in self._redis.scan_iter(f"{_PREFIX}*", count=1000)]
        except _BROKEN as error:
            return f"redis does not answer, and nothing depends on it: {error}"
        return f"nodes that redis knows of: {len(found)}"

    async def close(self) -> None:
        await self._redis.aclose()
