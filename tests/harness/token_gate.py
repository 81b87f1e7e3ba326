"""A registry behind tokens: hands on what carries one, and gives them to whoever has the password."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from types import TracebackType
from typing import Self

from aiohttp import ClientSession, web

TOKEN = "a-token-for:"


class TokenGate:
    """In front of a registry at `target`; a context manager. `scopes`: all that tokens were given for."""

    def __init__(self, target: str, user: str, password: str) -> None:
        self._target = target
        self._account = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="token gate", daemon=True)
        self._runner: web.AppRunner | None = None
        self.scopes: set[str] = set()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/token", self._token)
        app.router.add_get("/v2/{path:.*}", self._pass)
        self._session = ClientSession()
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _token(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != self._account or request.query["service"] != "gate":
            return web.Response(status=401)
        self.scopes.add(request.query["scope"])
        return web.json_response({"token": TOKEN + request.query["scope"]})

    async def _pass(self, request: web.Request) -> web.Response:
        name = request.path.removeprefix("/v2/").split("/")[0]
        scope = "registry:catalog:*" if name == "_catalog" else f"repository:{name}:pull"
        if request.headers.get("Authorization") != f"Bearer {TOKEN}{scope}":
            challenge = f'Bearer realm="{self.url}/token",service="gate",scope="{scope}"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        asked = {"Accept": request.headers.get("Accept", "*/*")}
        async with self._session.request(request.method, self._target + request.path_qs, headers=asked) as answer:
            kept = ("Content-Type", "Docker-Content-Digest")
            headers = {name: answer.headers[name] for name in kept if name in answer.headers}
            return web.Response(body=await answer.read(), status=answer.status, headers=headers)
