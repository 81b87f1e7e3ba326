"""/auth: where clients get their tokens (distribution's token authentication: GET, and POST as OAuth 2.0 has it)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

from aiohttp import web

from registry.auth.issued import IssuedToken
from registry.auth.issuing import TokenService
from registry.errors import RequestInvalid, Unauthorized
from registry.http import receive
from registry.http.addresses import Addresses
from registry.http.gate import parse_basic
from registry.http.router import Call, Route

_LARGEST_FORM = 64 * 1024
_FORMS_UNDER_WAY = 8 * 1024 * 1024  # bytes, a process


class TokenHandlers:
    """Errors are those of the registry, which docker and podman show to their users."""

    def __init__(self, service: TokenService, addresses: Addresses, body_timeout: float) -> None:
        self._service = service
        self._addresses = addresses
        self._body_timeout = body_timeout
        self._budget = receive.Budget(_FORMS_UNDER_WAY)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/auth/token", "none", self.get, "token"),
            Route("POST", "/auth/token", "none", self.post, "token"),
            Route("GET", "/auth/keys", "none", self.keys, "keys"),
        ]

    async def get(self, call: Call) -> web.StreamResponse:
        query = call.request.query
        self._service.check_audience(query.get("service"))
        scopes = query.getall("scope", [])
        header = call.request.headers.get("Authorization", "")
        kind, _, credentials = header.partition(" ")
        if header and kind.lower() != "basic":
            raise Unauthorized("log in with Basic, or ask without Authorization")
        name, password = parse_basic(credentials) if header else ("", "")
        if not name and not password:
            return _answer(call, await self._service.for_nobody(scopes))
        call.actor = await self._service.shown_name(name)
        self._addresses.check_private(call.request)
        offline = query.get("offline_token", "").lower() in ("true", "1")
        address = self._addresses.client(call.request)
        return _answer(call, await self._service.for_password(name, password, address, scopes, offline=offline))

    async def post(self, call: Call) -> web.StreamResponse:
        form = await self._form(call)
        self._service.check_audience(_one(form, "service"))
        scopes = form.get("scope", [])
        match _one(form, "grant_type"):
            case "password":
                name, password = _one(form, "username") or "", _one(form, "password") or ""
                call.actor = await self._service.shown_name(name)
                self._addresses.check_private(call.request)
                offline = _one(form, "access_type") == "offline"
                address = self._addresses.client(call.request)
                return _answer(call, await self._service.for_password(name, password, address, scopes, offline=offline))
            case "refresh_token":
                return _answer(call, await self._service.for_refresh(_one(form, "refresh_token") or "", scopes))
            case _:
                raise RequestInvalid("grant_type is password or refresh_token")

    async def keys(self, _call: Call) -> web.StreamResponse:
        """A JSON Web Key Set (RFC 7517)."""
        body = json.dumps(await self._service.key_set()).encode()
        headers = {"Content-Type": "application/jwk-set+json", "Cache-Control": "max-age=300"}
        return web.Response(body=body, headers=headers)

    async def _form(self, call: Call) -> dict[str, list[str]]:
        content_type = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != "application/x-www-form-urlencoded":
            raise RequestInvalid("send a form: application/x-www-form-urlencoded")
        with self._budget.spending() as take:
            body = await receive.small(call, _LARGEST_FORM, self._body_timeout, take)
        try:
            return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=200)
        except ValueError as error:
            raise RequestInvalid("the form cannot be read") from error


def _one(form: dict[str, list[str]], name: str) -> str | None:
    return form.get(name, [None])[0]


def _answer(call: Call, issued: IssuedToken) -> web.Response:
    call.actor = issued.who
    document: dict[str, object] = {
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": int(issued.lifetime),
        "issued_at": datetime.fromtimestamp(issued.issued, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    if issued.refresh:
        document["refresh_token"] = issued.refresh
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=json.dumps(document).encode(), headers=headers)
