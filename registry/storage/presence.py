"""Whether the objects that rows name are there, without a request to the store for each time that a client asks."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import structlog

from registry.errors import RegistryError
from registry.ports import StoredBlob
from registry.storage.s3.client import S3Client

log = structlog.get_logger(__name__)

T = TypeVar("T")

_REMEMBERED = 60.0  # seconds
_MOST_REMEMBERED = 100_000
_PATIENCE = 2.0  # seconds


class Presence:
    """Asks the store about an object at most once a minute, and once for all who want to know at the same time.

    A missing object is not remembered, as somebody may restore it. A changed one is: a request for its size cannot find
    that out, and a push brings a new object. `on_damaged` is called each time that either is found.
    """

    def __init__(self, client: S3Client, on_damaged: Callable[[], None]) -> None:
        self._client = client
        self._on_damaged = on_damaged
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._changed: OrderedDict[str, None] = OrderedDict()
        self._asking: dict[str, asyncio.Task[bool]] = {}

    async def confirms(self, blob: StoredBlob) -> bool:
        """Whether the object of a blob is there in its size. A store that cannot say counts as yes."""
        if blob.location in self._changed:
            return False
        if time.monotonic() - self._seen.get(blob.location, -_REMEMBERED) < _REMEMBERED:
            return True
        asking = self._asking.get(blob.location)
        if asking is None:
            asking = self._asking[blob.location] = asyncio.create_task(self._ask(blob))
            asking.add_done_callback(lambda _task: self._asking.pop(blob.location))
        return await asyncio.shield(asking)

    def missing(self, blob: StoredBlob) -> None:
        """Note that a request found no object of this blob, or one of another size."""
        self._seen.pop(blob.location, None)
        self._damaged("blob is damaged: its object is missing or has another size", blob)

    def changed(self, blob: StoredBlob) -> None:
        """Note that a read of this blob gave other bytes."""
        _note(self._changed, blob.location, None)
        self._damaged("blob is damaged: its object has changed", blob)

    def _damaged(self, what: str, blob: StoredBlob) -> None:
        log.error(what, digest=str(blob.digest), key=blob.location)
        self._on_damaged()

    async def _ask(self, blob: StoredBlob) -> bool:
        try:
            async with asyncio.timeout(0 if self._client.is_down else _PATIENCE):
                size = await self._client.head(blob.location)
        except (RegistryError, TimeoutError) as error:
            log.warning("the object store does not say whether an object is there", error=str(error))
        else:
            if size != blob.size:
                self.missing(blob)
                return False
        _note(self._seen, blob.location, time.monotonic())
        return True


def _note(notes: OrderedDict[str, T], location: str, value: T) -> None:
    notes[location] = value
    notes.move_to_end(location)
    if len(notes) > _MOST_REMEMBERED:
        notes.popitem(last=False)
