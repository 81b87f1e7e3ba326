"""Slaves that keep nothing: they follow the log, and fetch blobs where asked: `python -m benchmarks.replication.light`.

What they cost is cost of the master alone, as that of slaves on machines of their own is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import aclosing

from registry.domain import events
from registry.domain.replica import Upstream
from replication import wire
from replication.client import UpstreamClient


async def follow(master: str, fetches: bool, ready: asyncio.Semaphore) -> None:
    """One slave, from the end of the log on, until it is cancelled. Raises UpstreamError."""
    client = UpstreamClient(master)
    try:
        async with aclosing(client.log(await _end(client))) as lines:
            async for line in lines:
                match line:
                    case wire.Hello():
                        ready.release()
                    case wire.Event() if fetches and line.kind == events.MANIFEST_PUT:
                        await _fetch(client, line)
    finally:
        await client.close()


async def _end(client: UpstreamClient) -> Upstream:
    async with aclosing(client.log(Upstream())) as lines:
        async for line in lines:
            if isinstance(line, wire.Hello):
                return Upstream(serial=line.position.serial, epoch=line.position.epoch, chain=line.position.chain)
    raise ValueError("the master said no hello")


async def _fetch(client: UpstreamClient, event: wire.Event) -> None:
    document = json.loads(event.to_journal().content)
    for blob in (document["config"], *document["layers"]):
        async with aclosing(client.blob(blob["digest"], 0)) as chunks:
            async for _ in chunks:
                pass


async def run(master: str, count: int, fetches: bool) -> None:
    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(follow(master, fetches, ready))
        for _ in range(count):
            await ready.acquire()
        sys.stdout.write("ready\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("master")
    parser.add_argument("count", type=int)
    parser.add_argument("--fetch", action="store_true")
    asked = parser.parse_args()
    asyncio.run(run(asked.master, asked.count, asked.fetch))


if __name__ == "__main__":
    main()
