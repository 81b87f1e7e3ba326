"""What a master serves to its slaves as data, and what its handlers are given of a request.

The registry joins these routes into its own URL map and lets nobody in without the right that they name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from registry.domain.digest import Digest
from replication.scope import Scope

REPLICATE, PROMOTE = "replicate", "promote"


class Asked(Protocol):
    """One request of a slave."""

    @property
    def request(self) -> web.BaseRequest: ...

    @property
    def name(self) -> str:
        """Of the token that was shown; "" where none is needed."""
        ...

    @property
    def address(self) -> str: ...

    @property
    def scope(self) -> Scope | None:
        """The repositories that it may know of, by its token and by what it asks for; None for all. Raises
        RequestInvalid, AccessInvalid."""
        ...

    def parameter(self, name: str) -> str:
        """What stands in the address at {name}."""
        ...

    async def begin(self, response: web.StreamResponse) -> None:
        """Send the head of an answer that the handler writes by itself. From then on a failure is a cut."""
        ...

    def count(self, sent: int) -> None:
        """So many bytes of such an answer were sent."""
        ...

    async def body(self) -> bytes:
        """The body, which is small. Raises RequestTooLarge, RequestTimeout, ClientGone."""
        ...

    async def send_blob(self, digest: Digest) -> web.StreamResponse:
        """The bytes of a blob, or the ranges of it that are asked. Raises BlobUnknown, RangeUnsatisfiable."""
        ...

    async def is_welcome(self) -> bool:
        """Whether what let the slave in does so still."""
        ...


Handler = Callable[[Asked], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class FeedRoute:
    """`name`: for logs and metrics; `path`: a template of the registry's, whose {parameters} do not span slashes."""

    name: str
    method: str
    path: str
    right: str
    handler: Handler
