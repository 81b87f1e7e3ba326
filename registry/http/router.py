"""The URL map: routes as data, so that what is served and which right it takes can be listed and checked."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from registry.auth.visitor import CLOSED, Visitor
from registry.errors import EndpointUnknown, MethodNotAllowed

STAY_WITH_HTTPS = "max-age=31536000"
"""Strict-Transport-Security (RFC 6797, section 6.1): for a year, a browser asks this host by HTTPS alone."""

NO_PAGE = "default-src 'none'; sandbox"
"""Content-Security-Policy of all that is no page of ours: whoever pushes chooses the type of a manifest, and a browser
must not run one as if it were."""


@dataclass(slots=True)
class Call:
    """A request on its way through a handler.

    What is filled in on the way is for the logs: the route's label, the repository that the request is about, who
    sent it (`actor`: an account, or what a log may call somebody who is none), the bytes of bodies. `begun`: the
    handler sends the answer by itself, and has begun to. `https`: so the client speaks, to us or to a trusted proxy.
    """

    request: web.BaseRequest
    id: str
    parameters: dict[str, str] = field(default_factory=dict)
    label: str = "none"
    repository: str = ""
    received: int = 0
    sent: int = 0
    begun: bool = False
    visitor: Visitor = CLOSED
    actor: str = ""
    https: bool = False


RIGHTS_OF_ROUTES = frozenset(
    {"pull", "push", "delete", "catalog", "admin", "replicate", "promote", "session", "known", "none"}
)

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`template` has {name}, which spans slashes, and other {parameters}, which do not.

    `right` is what a caller needs: pull, push or delete on the repository that `template` names; catalog, admin; to be
    a slave (replicate), or one that takes its place (promote); to have logged in with a browser (session); to be
    known; or none. `outlives_token`: a request of an upload goes on though the token's time is over. `takes_session`:
    where nothing else says who asks, the session of a browser does. `is_page`: people see it, errors too.
    `is_of_the_node`: what it changes is no content, so a node that takes none does it too.
    """

    method: str
    template: str
    right: str
    handler: Handler
    label: str
    outlives_token: bool = False
    takes_session: bool = False
    is_page: bool = False
    is_of_the_node: bool = False

    def __post_init__(self) -> None:
        if self.right not in RIGHTS_OF_ROUTES:
            raise ValueError(f"{self.method} {self.template} declares no right that there is: {self.right}")


@dataclass(slots=True)
class _Endpoint:
    pattern: re.Pattern[str]
    routes: dict[str, Route] = field(default_factory=dict)


class Router:
    """Finds the route of a request. HEAD is served wherever GET is."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._endpoints: dict[str, _Endpoint] = {}
        for route in routes:
            endpoint = self._endpoints.setdefault(route.template, _Endpoint(_pattern(route.template)))
            endpoint.routes[route.method] = route
            if route.method == "GET":
                endpoint.routes["HEAD"] = route
        self._order = tuple(self._endpoints.values())

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Raises EndpointUnknown, MethodNotAllowed."""
        for endpoint in self._order:
            found = endpoint.pattern.fullmatch(path)
            if found is not None:
                route = endpoint.routes.get(method)
                if route is None:
                    raise MethodNotAllowed(method, tuple(sorted(endpoint.routes)))
                return route, found.groupdict()
        raise EndpointUnknown("no such address in this registry")


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[a-z_]+\})", template)
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    if part == "{name}":
        return "(?P<name>.+)"
    if part.startswith("{"):
        return f"(?P<{part[1:-1]}>[^/]+)"
    return re.escape(part)
