"""The URL map of a node that takes nothing, as another one writes the log: what changes something is refused before
its body, with the address of the master.

With the code DENIED docker, podman and ctr show the message and do not try again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from registry.errors import ReadOnly, RegistryError
from registry.http.router import Call, Route

_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
_OF_CONTENT = ("push", "delete", "admin")


def read_only(routes: Sequence[Route], refusal: RegistryError) -> list[Route]:
    """The same routes; those that would change content or accounts are refused, and say where that is done."""

    async def refuse(_call: Call) -> web.StreamResponse:
        raise refusal

    return [replace(route, handler=refuse) if _changes_content(route) else route for route in routes]


def of_a_slave(master: str) -> RegistryError:
    """What a slave says."""
    return ReadOnly(f"this registry is a read-only copy: push to {master} instead", {"master": master})


def _changes_content(route: Route) -> bool:
    return route.method in _CHANGING and route.right in _OF_CONTENT and not route.is_of_the_node
