"""The URL map of a slave: what changes something is refused before its body, with the address of the master.

With the code DENIED docker, podman and ctr show the message and do not try again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from registry.api.operation import BASE
from registry.api.own_replication import OWN
from registry.errors import ReadOnly
from registry.http.router import Call, Route

_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
_OF_THE_SLAVE = BASE + OWN
_OF_CONTENT = ("push", "delete", "admin")


def read_only(routes: Sequence[Route], master: str) -> list[Route]:
    """The same routes; those that would change content or accounts say where that is done."""

    async def refuse(_call: Call) -> web.StreamResponse:
        raise ReadOnly(f"this registry is a read-only copy: push to {master} instead", {"master": master})

    return [replace(route, handler=refuse) if _changes_content(route) else route for route in routes]


def _changes_content(route: Route) -> bool:
    return route.method in _CHANGING and route.right in _OF_CONTENT and route.template != _OF_THE_SLAVE
