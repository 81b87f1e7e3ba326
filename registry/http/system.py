"""What is not content: the version check, health, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from registry.errors import RegistryError
from registry.http import errors
from registry.http.router import Call, Route

Check = Callable[[], Awaitable[None]]
"""Raises the RegistryError that keeps the node from serving."""
Notes = Callable[[], Awaitable[Sequence[str]]]
"""What an operator may want to know though the node serves."""
Exposition = Callable[[], Awaitable[tuple[bytes, str]]]
"""The metrics as text, and their content type."""


class SystemHandlers:
    """/v2/ (OCI distribution specification, "Determining Support"), /healthz, /readyz, /metrics."""

    def __init__(self, ready: Check, notes: Notes, metrics: Exposition) -> None:
        self._ready = ready
        self._notes = notes
        self._metrics = metrics
        self._looking: asyncio.Future[None] | None = None

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v2/", "known", self.version, "version"),
            Route("GET", "/v2", "known", self.version, "version"),
            Route("GET", "/healthz", "none", self.health, "health"),
            Route("GET", "/readyz", "none", self.readiness, "health"),
        ]

    def metrics_routes(self) -> list[Route]:
        return [Route("GET", "/metrics", "none", self.metrics, "metrics")]

    async def version(self, _call: Call) -> web.StreamResponse:
        return web.Response(body=b"{}", content_type="application/json")

    async def health(self, _call: Call) -> web.StreamResponse:
        """The process answers."""
        return web.Response(body=b"ok\n", content_type="text/plain")

    async def readiness(self, _call: Call) -> web.StreamResponse:
        """The disk, the database and the object store answer too."""
        if self._looking is None or self._looking.done():  # whoever asks meanwhile costs no look of their own
            self._looking = asyncio.ensure_future(self._ready())
        try:
            await asyncio.shield(self._looking)
        except RegistryError as error:
            response = errors.response_of(error)
            response.set_status(503)
            return response
        lines = ["ready", *await self._notes()]
        return web.Response(text="".join(f"{line}\n" for line in lines), content_type="text/plain")

    async def metrics(self, _call: Call) -> web.StreamResponse:
        body, content_type = await self._metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})
