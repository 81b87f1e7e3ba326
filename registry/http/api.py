"""/api/v1: the operations of the administration (registry.api) over HTTP, JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from registry.api.document import document
from registry.api.operation import BASE, Administration, Asked, Operation, read_body
from registry.domain.access import RIGHTS
from registry.errors import MediaTypeUnsupported
from registry.http import receive
from registry.http.links import Links
from registry.http.router import Call, Handler, Route

LARGEST_BODY = 64 * 1024
_BODIES_UNDER_WAY = 8 * 1024 * 1024  # bytes, a process
_JSON = "application/json"


class ApiHandlers:
    """Answers hold no secret but a new robot's, and no cache keeps them."""

    def __init__(
        self, operations: Sequence[Operation[Any]], to: Administration, links: Links, body_timeout: float
    ) -> None:
        self._operations = operations
        self._to = to
        self._links = links
        self._body_timeout = body_timeout
        self._budget = receive.Budget(_BODIES_UNDER_WAY)

    def routes(self) -> list[Route]:
        served = [
            Route(
                operation.method,
                operation.template,
                operation.right,
                self._handler(operation),
                operation.name,
                takes_session=operation.right not in RIGHTS,  # content is not for pages of browsers
                is_of_the_node=operation.is_of_the_node,
            )
            for operation in self._operations
        ]
        return [*served, Route("GET", f"{BASE}/openapi.json", "none", self.openapi, "api")]

    async def openapi(self, _call: Call) -> web.StreamResponse:
        return web.Response(body=self._document, content_type=_JSON)

    @cached_property
    def _document(self) -> bytes:
        return json.dumps(document(self._operations)).encode()

    def _handler(self, operation: Operation[Any]) -> Handler:
        async def handler(call: Call) -> web.StreamResponse:
            query = dict(call.request.query)
            operation.check_query(query)
            body = None if operation.body is None else await self._body(call, operation.body)
            answer = await operation.run(self._to, Asked(call.parameters, query, body, call.visitor))
            response = web.Response(status=operation.status_of_success)
            response.headers["Cache-Control"] = "no-store"
            if answer.body is not None:
                response.body = msgspec.json.encode(answer.body)
                response.content_type = _JSON
            if answer.last:
                path = operation.template.format_map({name: quote(text) for name, text in call.parameters.items()})
                response.headers["Link"] = self._links.next_page(path, {**query, "last": answer.last})
            return response

        return handler

    async def _body(self, call: Call, kind: type[msgspec.Struct]) -> msgspec.Struct:
        """Raises MediaTypeUnsupported, RequestTooLarge, RequestInvalid."""
        # A page of another site can make a browser send text or a form with the user's password, but not JSON.
        content_type = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != _JSON:
            raise MediaTypeUnsupported(f"send JSON, with Content-Type: {_JSON}")
        with self._budget.spending() as take:
            body = await receive.small(call, LARGEST_BODY, self._body_timeout, take)
        return read_body(kind, body)
