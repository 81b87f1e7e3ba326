"""What a browser is told and believed: cookies, pages of others, and where a login leads."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from aiohttp import web
from multidict import CIMultiDict

from registry.errors import Denied, RequestInvalid, TooManyRequests, Unauthorized
from registry.http import cookies, pages
from registry.http.login import local_path

HTTPS, HTTP = "https://shoal.example:5000", "http://127.0.0.1:5000"


def request(**headers: str) -> web.BaseRequest:
    made = Mock(spec=web.BaseRequest)
    made.headers = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return made


@pytest.mark.parametrize(
    "path", ["/", "/auth/session", "/v2/_catalog?n=1&last=a", "/a//b", "/%2F%2Fevil.example", "/@x"]
)
def test_paths_of_ours(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "auth",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\..\\\\evil.example",
        "https://evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "\t//evil.example",
        "/\n/evil.example",
        "/a\r\nSet-Cookie: x=y",
        "/\0",
        " /a",
        "/a b",
        "/\u2215evil.example",
        "/\uff0fevil.example",
        "/" + "a" * 2000,
        "/a\n",
    ],
    ids=ascii,
)
def test_a_login_leads_nobody_elsewhere(path: str) -> None:
    with pytest.raises(RequestInvalid):
        local_path(path)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "same-origin", "Origin": HTTPS},
        {"Origin": HTTPS},
    ],
)
def test_a_page_of_ours(headers: dict[str, str]) -> None:
    assert cookies.comes_from_own_page(request(**headers), HTTPS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "Same-Origin, cross-site"},
        {"Sec_Fetch_Site": ""},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://shoal.example:5000"},
        {"Origin": "https://shoal.example"},
        {"Origin": "https://shoal.example:5000.evil.example"},
        {"Origin": ""},
        {"Origin": HTTPS, "Sec_Fetch_Site": "cross-site"},
        {"Origin": "null", "Sec_Fetch_Site": "same-origin"},
    ],
    ids=str,
)
def test_a_page_of_others(headers: dict[str, str]) -> None:
    assert not cookies.comes_from_own_page(request(**headers), HTTPS)


def test_the_default_port_is_in_no_origin() -> None:
    assert cookies.comes_from_own_page(request(Origin="https://shoal.example"), "https://shoal.example:443")


@pytest.mark.parametrize(
    ("cookie", "base", "wanted"),
    [
        (
            cookies.SESSION,
            HTTPS,
            ["__Host-shoal-session=x", "HttpOnly", "Max-Age=60", "Path=/", "SameSite=Lax", "Secure"],
        ),
        (cookies.LOGIN, HTTPS, ["__Host-shoal-login=x", "HttpOnly", "Max-Age=60", "Path=/", "SameSite=Lax", "Secure"]),
        (cookies.SESSION, HTTP, ["shoal-session=x", "HttpOnly", "Max-Age=60", "Path=/", "SameSite=Lax"]),
        (cookies.LOGIN, HTTP, ["shoal-login=x", "HttpOnly", "Max-Age=60", "Path=/auth", "SameSite=Lax"]),
    ],
)
def test_what_a_cookie_says(cookie: cookies.Cookie, base: str, wanted: list[str]) -> None:
    kept, forgotten = web.Response(), web.Response()
    cookie.keep(kept, base, "x", 60.0)
    (morsel,) = kept.cookies.values()
    assert sorted(morsel.OutputString().split("; ")) == sorted(wanted)
    cookie.forget(forgotten, base)
    (morsel,) = forgotten.cookies.values()
    assert (morsel.key, morsel.value, morsel["max-age"]) == (wanted[0].partition("=")[0], "", "0")
    assert morsel["path"] == cookie.path if base == HTTP else "/"


@pytest.mark.parametrize(
    "planted",
    [
        "x=a __Host-shoal-session=evil",
        "x= __Host-shoal-session=evil",
        "x=1; \u2000__Host-shoal-session=evil",
        "x=1;\x0b__Host-shoal-session=evil",
        'x="a; y" __Host-shoal-session=evil',
        "x__Host-shoal-session=evil",
        "__host-shoal-session=evil",
    ],
    ids=ascii,
)
def test_a_cookie_of_a_neighbour_is_none_of_ours(planted: str) -> None:
    for sent in (f"__Host-shoal-session=own; {planted}", f"{planted}; __Host-shoal-session=own"):
        assert cookies.SESSION.of(request(Cookie=sent), HTTPS) == "own"
    assert cookies.SESSION.of(request(Cookie=planted), HTTPS) == ""


def test_a_cookie_that_comes_twice_is_nobodys() -> None:
    twice = "__Host-shoal-session=own; __Host-shoal-session=evil"
    assert cookies.SESSION.of(request(Cookie=twice), HTTPS) == ""


def test_with_https_the_other_name_is_nobodys() -> None:
    """Whoever writes for the whole domain, or on the way by http, cannot use the prefix."""
    assert cookies.SESSION.of(request(Cookie="shoal-session=planted"), HTTPS) == ""
    assert cookies.SESSION.of(request(Cookie="shoal-session=own"), HTTP) == "own"


def test_a_page_shows_what_comes_from_elsewhere_as_text() -> None:
    told = pages.telling(request(Accept="text/html"), Denied("<script>alert(1)</script>"))
    assert told.status == 403
    assert "<script>" not in str(told.text)
    assert "&lt;script&gt;" in str(told.text)


def test_errors_keep_what_they_tell_programs() -> None:
    assert pages.telling(request(), Unauthorized("who?", "Bearer x")).headers["WWW-Authenticate"] == "Bearer x"
    assert pages.telling(request(), TooManyRequests("wait", 3.2)).headers["Retry-After"] == "4"
    told = pages.telling(request(Accept="application/json"), Denied("no"))
    assert (told.status, told.content_type) == (403, "application/json")


def test_the_policy_of_pages() -> None:
    headers = pages.page("a", "b").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    named = ("X-Frame-Options", "Referrer-Policy", "Cache-Control")
    assert [headers[name] for name in named] == ["DENY", "no-referrer", "no-store"]
    assert pages.page("a", "b", has_forms=True).headers["Referrer-Policy"] == "same-origin"
