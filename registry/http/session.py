"""/auth/session: who is logged in with this browser, a password for docker, and the way out.

Its routes are for the session of a browser alone (the right `session`): whoever has a password has one already.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape

from aiohttp import web
from yarl import URL

from registry.auth.issued import IssuedToken
from registry.auth.sessions import Sessions
from registry.auth.visitor import Visitor
from registry.errors import Unauthorized
from registry.http import cookies, pages
from registry.http.addresses import Addresses
from registry.http.router import Call, Route

_NOT_KEPT = {"Cache-Control": "no-store"}


class SessionHandlers:
    """Answers with a page, or with JSON to a program that asks for it."""

    def __init__(self, sessions: Sessions, addresses: Addresses) -> None:
        self._sessions = sessions
        self._addresses = addresses

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/auth/session", "session", self.show, "session", takes_session=True, is_page=True),
            Route(
                "POST", "/auth/session/password", "session", self.password, "password", takes_session=True, is_page=True
            ),
            Route("POST", "/auth/logout", "session", self.logout, "logout", takes_session=True, is_page=True),
        ]

    async def show(self, call: Call) -> web.StreamResponse:
        visitor = call.visitor
        groups, until = visitor.table.groups_of(visitor.principal), _time(_end(visitor))
        if pages.wants_json(call.request):
            return _json({"name": visitor.name, "groups": groups, "until": until})
        listed = ", ".join(escape(group) for group in groups) or "none"
        facts = f"<dt>Groups</dt><dd>{listed}</dd>\n<dt>Until</dt><dd>{until}</dd>"
        forms = _form("/auth/session/password", "Password for docker") + _form("/auth/logout", "Log out")
        return pages.page(f"You are {visitor.name}", f"<dl>\n{facts}\n</dl>\n{forms}", has_forms=True)

    async def password(self, call: Call) -> web.StreamResponse:
        """A new one each time: nobody can look one up later."""
        _end(call.visitor)
        self._addresses.check_private(call.request)
        issued = await self._sessions.password(call.visitor)
        until = _time(issued.issued + issued.lifetime)
        if pages.wants_json(call.request):
            return _json({"name": issued.who, "password": issued.token, "until": until})
        return pages.page("Password for docker", self._recipe(call, issued, until))

    async def logout(self, call: Call) -> web.StreamResponse:
        """The browser forgets its session, and with it all that it had kept of us."""
        _end(call.visitor)
        response = pages.page("You are logged out", '<p><a href="/auth/login">Log in</a></p>')
        cookies.SESSION.forget(response, self._addresses.base(call.request))
        return response

    def _recipe(self, call: Call, issued: IssuedToken, until: str) -> str:
        host = URL(self._addresses.base(call.request)).authority
        line = f"docker login {host} -u {issued.who}"
        return (
            f"<p>Shown this once; good until {until}.</p>\n<pre>{escape(line)}</pre>\n"
            f"<p>It asks for the password:</p>\n<pre>{escape(issued.token)}</pre>\n"
            '<p><a href="/auth/session">Back</a></p>'
        )


def _end(visitor: Visitor) -> float:
    """When the session is over. Raises Unauthorized where there is none."""
    if visitor.session_ends is None:
        raise Unauthorized("log in with a browser first")
    return visitor.session_ends


def _form(action: str, label: str) -> str:
    return f'<form method="post" action="{action}"><button>{label}</button></form>\n'


def _json(document: dict[str, object]) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), content_type="application/json", headers=_NOT_KEPT)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
