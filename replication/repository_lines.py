"""A repository as lines of a snapshot."""

from __future__ import annotations

import asyncio
import base64

from registry.ports.replication import FeedReader
from replication import wire
from replication.streams import LineStream

_TAGS_AT_ONCE = 1000


async def tell(stream: LineStream, reader: FeedReader, name: str) -> None:
    async for manifest in reader.snapshot_manifests(name):
        content = base64.b64encode(manifest.content).decode()
        await stream.add(wire.encode(wire.Manifest(name, manifest.digest, manifest.media_type, content)))
    last, more = "", True
    while more:
        tags = await reader.snapshot_tags(name, last, _TAGS_AT_ONCE)
        await stream.add(wire.encode_all([wire.Tag(name, tag, digest) for tag, digest in tags]))
        last, more = tags[-1][0] if tags else "", len(tags) == _TAGS_AT_ONCE
    await stream.add(wire.encode(wire.RepositoryEnd(name)))
    await asyncio.sleep(0)  # where there are many of little content
