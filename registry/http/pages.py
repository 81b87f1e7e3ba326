"""Pages for people: plain HTML without scripts, and without anything that a browser would fetch from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from aiohttp import web

from registry import errors
from registry.errors import RegistryError
from registry.http.errors import response_of

_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
code, pre { font: .9rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
pre { padding: .7rem; border: 1px solid #999; }
dt { font-weight: bold; }
form { display: inline-block; margin: 0 1rem 1rem 0; }
button { font: inherit; padding: .3rem .8rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_KEPT_OF_ERRORS = ("Allow", "Retry-After", "WWW-Authenticate")
_TITLES: tuple[tuple[type[RegistryError], str], ...] = (
    (errors.Unauthorized, "You are not logged in, or no longer"),
    (errors.Denied, "This is not allowed"),
    (errors.TooManyRequests, "Too many at once"),
    (errors.Unavailable, "Not just now"),
)


def page(title: str, body: str, status: int = 200, *, has_forms: bool = False) -> web.Response:
    """`body` is HTML, in which whatever comes from elsewhere is escaped.

    `has_forms`: the browser has to say of what it sends from here which page that was, to us alone. With no-referrer it
    would write `Origin: null` (Fetch, section 3.2), as pages of others may.
    """
    text = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)} - Shoal</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "same-origin" if has_forms else "no-referrer",
        "X-Frame-Options": "DENY",
    }
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)


def wants_json(request: web.BaseRequest) -> bool:
    """Whether a program asks: a browser takes pages, whatever else it takes."""
    takes = request.headers.get("Accept", "")
    return "application/json" in takes and "text/html" not in takes


def telling(request: web.BaseRequest, error: RegistryError) -> web.Response:
    """An error as a page that says what to do, or as the registry's own document for programs."""
    told = response_of(error)
    if wants_json(request):
        return told
    title = next((title for kind, title in _TITLES if isinstance(error, kind)), "That did not work")
    body = f'<p>{escape(error.message)}</p>\n<p><a href="/auth/login">Log in</a></p>'
    response = page(title, body, told.status)
    for name in _KEPT_OF_ERRORS:
        if name in told.headers:
            response.headers[name] = told.headers[name]
    return response
