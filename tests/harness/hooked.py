"""A server that a test can look into and change while it runs, for what no client could bring about.

    python -m tests.harness.hooked '{"clock": 300, "token_lifetime": 2}' PYTHON -m registry serve ...

`clock`: seconds that its clock is ahead; `token_lifetime`: seconds that a token is good for; `heartbeat`: seconds of
silence after which a stream for slaves says so. With one worker it answers
besides POST /hooks/accounts (a method of AccountService and its arguments), POST /hooks/rotate (a new key signs), and
GET /hooks/looks: what was asked of metadata, sessions and blobs since the last time.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import requests
from aiohttp import web

from registry.domain import clock
from tests.harness.server import ShoalServer

_LOOKS: list[str] = []


def hooks(**options: float) -> list[str]:
    """The `prefix` of a ShoalServer with hooks."""
    return [sys.executable, "-m", "tests.harness.hooked", json.dumps(options)]


class Hooks:
    """A test's side."""

    def __init__(self, server: ShoalServer) -> None:
        self._url = f"{server.url}/hooks"

    def accounts(self, method: str, *words: object, **options: object) -> None:
        sent = {"method": method, "words": words, "options": options}
        requests.post(f"{self._url}/accounts", json=sent, timeout=30).raise_for_status()

    def rotate(self) -> None:
        requests.post(f"{self._url}/rotate", timeout=30).raise_for_status()

    def looks(self) -> list[str]:
        """What was looked at since the last call."""
        answer = requests.get(f"{self._url}/looks", timeout=30)
        answer.raise_for_status()
        found: list[str] = answer.json()
        return found


def main() -> None:
    options = json.loads(sys.argv[1])
    shift = float(options.get("clock", 0.0))
    clock.system_clock = lambda: time.time() + shift  # before anybody imports it
    sys.argv = ["shoal", *sys.argv[sys.argv.index("registry") + 1 :]]

    if "heartbeat" in options:
        _quicken_heart(float(options["heartbeat"]))
    if "token_lifetime" in options:
        _shorten_tokens(float(options["token_lifetime"]))
    _add_routes()
    _watch()
    from registry.cli import main as shoal

    shoal()


def _quicken_heart(seconds: float) -> None:
    from replication import wire

    wire.HEARTBEAT = seconds


def _shorten_tokens(lifetime: float) -> None:
    """To less than the settings allow."""
    from registry.auth.issuing import TokenService

    made = TokenService.__init__

    @functools.wraps(made)
    def short(service: TokenService, *parts: Any) -> None:
        made(service, *parts)
        service._lifetime = lifetime

    setattr(TokenService, "__init__", short)  # noqa: B010 - which the type checker would not have


def _add_routes() -> None:
    from registry.auth.accounts import AccountService
    from registry.auth.keys import KeyRotation
    from registry.auth.passwords import Passwords
    from registry.auth.tokens import REFRESH_LIFETIME
    from registry.http.router import Call, Route
    from registry.processes.node_parts import NodeParts
    from registry.processes.process import Process

    made: Callable[..., list[Route]] = Process.routes

    def routes(self: Process, parts: NodeParts) -> list[Route]:
        service = AccountService(self.access, parts.changes, Passwords(), clock.system_clock)
        keys = KeyRotation(self.access, self.sql, parts.changes, clock.system_clock, REFRESH_LIFETIME)

        async def accounts(call: Call) -> web.StreamResponse:
            wanted = json.loads(await call.request.read())
            await getattr(service, wanted["method"])(*wanted["words"], **wanted["options"])
            return web.Response(status=204)

        async def rotate(_call: Call) -> web.StreamResponse:
            await keys.rotate()
            return web.Response(status=204)

        async def looks(_call: Call) -> web.StreamResponse:
            found = json.dumps(_LOOKS).encode()
            _LOOKS.clear()
            return web.Response(body=found)

        return [
            *made(self, parts),
            Route("POST", "/hooks/accounts", "none", accounts, "hooks"),
            Route("POST", "/hooks/rotate", "none", rotate, "hooks"),
            Route("GET", "/hooks/looks", "none", looks, "hooks"),
        ]

    Process.routes = routes  # type: ignore[method-assign]


def _watch() -> None:
    from registry.storage.blobs_fs import FileBlobs
    from registry.storage.metadata.cache import CachedReader
    from registry.storage.uploads_fs import FileUploads

    for watched in (CachedReader, FileUploads, FileBlobs):
        for name, method in vars(watched).copy().items():
            if not name.startswith("_") and name != "close" and callable(method):
                setattr(watched, name, _watched(f"{watched.__name__}.{name}", method))


def _watched(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def noted(*words: Any, **options: Any) -> Any:
        _LOOKS.append(name)
        return method(*words, **options)

    return noted


if __name__ == "__main__":
    main()
