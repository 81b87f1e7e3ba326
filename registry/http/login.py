"""/auth/login and /auth/callback: a browser goes to its OpenID Connect issuer, and comes back as somebody.

Core 1.0, section 3.1, with PKCE (RFC 7636). What belongs to one login is kept with the browser, in a cookie, so any
worker of any node can end what another one began.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from html import escape
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from registry.auth.oidc import new_login
from registry.auth.people import People, Return
from registry.auth.sessions import Sessions
from registry.errors import Denied, EndpointUnknown, MethodNotAllowed, RequestInvalid
from registry.http import cookies, pages
from registry.http.addresses import Addresses
from registry.http.router import Call, Route

LOGIN_TIME = 600.0
"""Seconds that somebody may take at the issuer."""

_AFTERWARDS = "/auth/session"
# One slash and no other slash or backslash behind it, nor anything that a browser would leave out in between.
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]{0,1000}")
_WORD = re.compile(r"[a-z_]{1,60}")
_VISIBLE = re.compile(r"[ -~]+")  # what codes and issuers are made of: RFC 6749, appendix A.11


class _Kept(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """What the browser keeps of one login, until it comes back."""

    issuer: str
    state: str
    nonce: str
    verifier: str
    next: str


class LoginHandlers:
    """`issuers`: where people may log in."""

    def __init__(self, people: People, sessions: Sessions, issuers: Sequence[str], addresses: Addresses) -> None:
        self._people = people
        self._sessions = sessions
        self._issuers = issuers
        self._addresses = addresses

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/auth/login", "none", self.begin, "login-page", is_page=True),
            Route("GET", "/auth/callback", "none", self.end, "login", is_page=True),
        ]

    async def begin(self, call: Call) -> web.StreamResponse:
        self._addresses.check_private(call.request)
        afterwards = local_path(call.request.query.get("next", _AFTERWARDS))
        issuer = self._chosen(call.request.query.get("issuer"))
        if issuer is None:
            return self._choice(afterwards)
        base, login = self._addresses.base(call.request), new_login()
        response = _redirect(await self._people.way_to(issuer, login, f"{base}/auth/callback"))
        kept = _Kept(issuer, login.state, login.nonce, login.verifier, afterwards)
        cookies.LOGIN.keep(response, base, _written(kept), LOGIN_TIME)
        return response

    async def end(self, call: Call) -> web.StreamResponse:
        if call.request.method == "HEAD":  # a code is good once, and not for looking
            raise MethodNotAllowed("HEAD", ("GET",))
        self._addresses.check_private(call.request)
        base, query = self._addresses.base(call.request), call.request.query
        kept = _read(cookies.LOGIN.of(call.request, base))
        if kept is None or not _same(kept.state, query.get("state", "")):
            raise Denied(
                "this login was not begun in this browser, or another one was since, or it took more than "
                f"{LOGIN_TIME / 60:g} minutes; begin it at {base}/auth/login"
            )
        try:
            response = await self._welcome(call, kept, base)
        except Denied as refusal:
            call.actor = str(refusal.detail.get("account", ""))
            response = pages.telling(call.request, refusal)
        cookies.LOGIN.forget(response, base)
        return response

    async def _welcome(self, call: Call, kept: _Kept, base: str) -> web.Response:
        """Raises Denied."""
        query = call.request.query
        code, named, said = query.get("code", ""), query.get("iss", ""), query.get("error", "")
        if said or not _VISIBLE.fullmatch(code + named) or not code:
            raise Denied(f"{kept.issuer} lets nobody in: {said if _WORD.fullmatch(said) else 'it sends no code'}")
        back = Return(kept.issuer, code, named, kept.verifier, kept.nonce, f"{base}/auth/callback")
        principal = await self._people.who_came(back)
        session = await self._sessions.begin(principal)
        call.actor = principal.name
        response = _redirect(local_path(kept.next))
        cookies.SESSION.keep(response, base, session.token, session.lifetime)
        return response

    def _chosen(self, named: str | None) -> str | None:
        """None where there are several, and none of them was named. Raises EndpointUnknown, RequestInvalid."""
        if not self._issuers:
            raise EndpointUnknown("nobody logs in here with a browser: no issuer in auth.oidc has a client_id")
        if named is None:
            return self._issuers[0] if len(self._issuers) == 1 else None
        if named not in self._issuers:
            raise RequestInvalid("nobody logs in here by that issuer")
        return named

    def _choice(self, afterwards: str) -> web.Response:
        queries = ((issuer, urlencode({"issuer": issuer, "next": afterwards})) for issuer in self._issuers)
        links = "\n".join(
            f'<li><a href="/auth/login?{escape(query)}">{escape(issuer)}</a></li>' for issuer, query in queries
        )
        return pages.page("Where do you log in?", f"<ul>\n{links}\n</ul>")


def local_path(text: str) -> str:
    """An address of ours, by its path alone. Raises RequestInvalid: a login leads nobody to another site."""
    if not _LOCAL.fullmatch(text):
        raise RequestInvalid("next is a path of this registry, such as /auth/session")
    return text


def _redirect(to: str) -> web.Response:
    headers = {"Location": to, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return web.Response(status=302, headers=headers)


def _same(kept: str, shown: str) -> bool:
    return bool(kept) and hmac.compare_digest(kept.encode(), shown.encode(errors="surrogatepass"))


def _written(kept: _Kept) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(kept)).decode().rstrip("=")


def _read(text: str) -> _Kept | None:
    """None where the browser has kept nothing, or something else."""
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Kept)
    except (ValueError, RecursionError):  # those of base64 and of msgspec, too
        return None
