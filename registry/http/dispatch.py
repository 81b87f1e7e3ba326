"""From a request to its answer: route, handler, error, and one line in the log."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import unquote

import structlog
from aiohttp import web

from registry.errors import ClientGone, RegistryError, StorageFailure, StorageFull, Unavailable
from registry.http import auditing, errors, pages
from registry.http.gate import Gate
from registry.http.proxies import client_address, is_https
from registry.http.router import NO_PAGE, STAY_WITH_HTTPS, Call, Route, Router
from registry.ports import Audit
from registry.telemetry.requests import AnsweredRequest

log = structlog.get_logger(__name__)

_CLIENT_GONE = 499  # the status in the log of a request that could not be answered to its end
_API_VERSION = "Docker-Distribution-Api-Version"
_POLICY = "Content-Security-Policy"


RequestObserver = Callable[[AnsweredRequest], None]
"""Told of every request that was answered."""


class Dispatcher:
    """The one function that answers every request of a listener."""

    def __init__(
        self,
        routes: Sequence[Route],
        observe: RequestObserver,
        trusted_proxies: Sequence[IPv4Network | IPv6Network],
        gate: Gate,
        audit: Audit,
    ) -> None:
        self._gate = gate
        self._audit = audit
        self._router = Router(routes)
        self._observe = observe
        self._trusted_proxies = trusted_proxies
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = f"{self._prefix}-{next(self._numbers)}"
        path = request.raw_path.partition("?")[0]
        if not path.startswith("/"):  # the absolute form, as it is sent to a proxy
            path = request.rel_url.raw_path
        if "%" in path:
            path = unquote(path)
        call = Call(request, request_id, https=is_https(request, self._trusted_proxies))
        status = _CLIENT_GONE
        try:
            response = await self._answer(call, path)
            status = response.status
            if (result := auditing.result_of(call, status)) is not None:
                await self._tell(call, result, path)
            if not call.begun:
                add_headers(response, path, call)
                if request.method != "HEAD":
                    call.sent = response.content_length or 0
            return response
        finally:
            seconds = time.perf_counter() - started
            client = client_address(request, self._trusted_proxies)
            self._observe(
                AnsweredRequest(
                    request_id,
                    request.method,
                    path,
                    call.label,
                    call.repository,
                    status,
                    call.sent,
                    call.received,
                    seconds,
                    client,
                )
            )

    async def _tell(self, call: Call, result: str, path: str) -> None:
        origin = client_address(call.request, self._trusted_proxies)
        entry = auditing.entry_of(call, result, path, origin, time.time())
        if auditing.is_of_administration(path):
            await self._audit.record(entry)
        else:
            self._audit.note(entry)

    async def _answer(self, call: Call, path: str) -> web.StreamResponse:
        is_page = False
        try:
            route, call.parameters = self._router.match(call.request.method, path)
            call.label, is_page = route.label, route.is_page
            await self._gate.admit(call, route)
            return await route.handler(call)
        except ConnectionError:
            raise
        except RegistryError as error:
            failure = error
            if isinstance(error, StorageFailure | StorageFull):
                log.error(error.message, id=call.id, path=path, cause=repr(error.__cause__), detail=error.detail)
            elif isinstance(error, Unavailable):
                log.warning(error.message, id=call.id, path=path, detail=error.detail)
        except Exception:
            log.exception("request failed", id=call.id, method=call.request.method, path=path)
            failure = StorageFailure("an internal error; the log has more", {"id": call.id})
        if call.begun:  # a second head would look like content: only a cut tells the client
            raise ConnectionResetError("the answer had begun") from failure
        response = pages.telling(call.request, failure) if is_page else errors.response_of(failure)
        if isinstance(failure, ClientGone):
            response.force_close()
        return response


def add_headers(response: web.StreamResponse, path: str, call: Call) -> None:
    headers = response.headers
    headers["X-Request-Id"] = call.id
    headers["Server"] = "Shoal"
    headers["X-Content-Type-Options"] = "nosniff"
    if _POLICY not in headers:
        headers[_POLICY] = NO_PAGE
    if call.https:
        headers["Strict-Transport-Security"] = STAY_WITH_HTTPS
    if path.startswith("/v2") and _API_VERSION not in headers:
        headers[_API_VERSION] = "registry/2.0"
