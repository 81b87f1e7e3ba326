"""The registry above a slave, for the workers of its node: each question is a message to the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from registry.domain.digest import Digest
from registry.errors import UpstreamFailed
from registry.ports import StoredManifest
from registry.ports.above import Above, Arrival

Ask = Callable[[str, object], Awaitable[Any]]
OPERATION = "above"


class RemoteAbove:
    """Above. `ask`: sends an operation and its body to the node."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def manifest(self, repository: str, digest: Digest) -> StoredManifest:
        return msgspec.convert(await self._ask(OPERATION, ["manifest", repository, str(digest)]), StoredManifest)

    async def size(self, repository: str, digest: Digest) -> int:
        return int(await self._ask(OPERATION, ["size", repository, str(digest)]))

    async def fetch(self, repository: str, digest: Digest) -> Arrival:
        return msgspec.convert(await self._ask(OPERATION, ["fetch", repository, str(digest)]), Arrival)

    async def arrival(self, ticket: int, after: int) -> Arrival:
        return msgspec.convert(await self._ask(OPERATION, ["arrival", ticket, after]), Arrival)


async def answer(above: Above | None, body: list[Any]) -> object:
    """The node's side. Raises what Above does."""
    what, first, second = body
    if above is None:
        raise UpstreamFailed("this node follows no other registry")
    match what:
        case "manifest":
            return await above.manifest(first, Digest.parse(second))
        case "size":
            return await above.size(first, Digest.parse(second))
        case "fetch":
            return await above.fetch(first, Digest.parse(second))
    return await above.arrival(first, second)
