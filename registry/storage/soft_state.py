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
_RATES = "shoal:rate:"
# The generic cell rate algorithm: one number for each key, the time when its bucket is full again. A value that no
# bucket can have is none: whatever was written there keeps nobody out.
_TAKE = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local full = tonumber(redis.call('GET', KEYS[1]) or now) or now
if full < now or full > now + burst / rate then full = now end
local waits = full - now - (burst - 1) / rate
if waits > 0 then return tostring(waits) end
full = full + 1 / rate
redis.call('SET', KEYS[1], string.format('%.6f', full), 'PX', math.ceil((full - now) * 1000) + 1000)
return '0'
"""
_BROKEN = (RedisError, OSError, TimeoutError, ValueError)


class SoftState:
    """Which nodes are up, as they say, and how much somebody asks of all of them. `url`: redis://HOST:PORT/DB."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE)
        self._take = self._redis.register_script(_TAKE)

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

    async def take(self, key: str, rate: float, burst: float) -> float | None:
        """One request of somebody over all nodes, as Rates.take; None where that cannot be told."""
        try:
            waits = await self._take(keys=[f"{_RATES}{key}"], args=[repr(rate), repr(burst)])
            return min(max(float(waits), 0.0), burst / rate)
        except _BROKEN:
            return None

    async def close(self) -> None:
        await self._redis.aclose()
