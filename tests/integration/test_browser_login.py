"""Logins with a browser at a server with two workers: the way to the issuer and back."""

from __future__ import annotations

import base64
import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from tests.conftest import StartShoal
from tests.harness.browser import Browser, query_of
from tests.harness.browser_site import Site, oidc_of
from tests.harness.oidc_provider import OidcProvider, in_background
from tests.harness.postgres import PostgresServer
from tests.harness.server import Settings, ShoalServer

_NESTED = "shoal-login=" + base64.urlsafe_b64encode(b'{"x":' + b"[" * 4000).decode()


def test_a_login(site: Site) -> None:
    browser = site.browser()
    answer = browser.log_in()
    assert [hop.status_code for hop in answer.history] == [302, 302, 302]
    assert answer.url == f"{site.server.url}/auth/session"
    assert "You are ann" in answer.text
    assert "devs" in answer.text
    for _ in range(6):  # whichever worker answers
        who = browser.who()
        assert (who["name"], who["groups"]) == ("ann", ["devs"])
    assert browser.get("/api/v1/whoami").json() == {"name": "ann", "is_admin": False, "groups": ["devs"]}
    site.audited("ann", "login.get", "done")


def test_pages_say_what_browsers_may_do_with_them(site: Site) -> None:
    ann = site.person("Ann")
    for answer in (ann.get("/auth/session"), ann.press("/auth/session/password"), site.browser().get("/auth/session")):
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.findall("<script|src=|http:|https:|style=", answer.text)


def test_a_login_leads_back_to_where_it_began(site: Site) -> None:
    browser = site.browser()
    answer = browser.log_in("/auth/login?next=/api/v1/whoami?x=1%26y=2")
    assert answer.url == f"{site.server.url}/api/v1/whoami?x=1&y=2"


@pytest.mark.parametrize(
    "path", ["//evil.example", "/%5Cevil.example", "https://evil.example", "/%09/evil.example", ""]
)
def test_a_login_leads_nowhere_else(site: Site, path: str) -> None:
    answer = site.browser().get(f"/auth/login?next={path}")
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_where_the_cookie_itself_says_that_a_login_leads_elsewhere(site: Site) -> None:
    """Whoever can plant a cookie still leads nobody to another site."""
    browser = site.browser()
    back = browser.way_back()
    kept = browser.session.cookies["shoal-login"]
    fields = json.loads(base64.urlsafe_b64decode(kept + "==="))
    changed = base64.urlsafe_b64encode(json.dumps(fields | {"next": "//evil.example"}).encode()).decode().rstrip("=")
    answer = requests.get(
        site.server.url + back, headers={"Cookie": f"shoal-login={changed}"}, allow_redirects=False, timeout=30
    )
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_cookies(site: Site) -> None:
    browser = site.browser()
    begun = browser.get("/auth/login").headers["Set-Cookie"]
    assert begun.startswith("shoal-login=")
    assert set(begun.split("; ")[1:]) == {"HttpOnly", "Max-Age=600", "Path=/auth", "SameSite=Lax"}
    ended = browser.get(browser.way_back())
    session = next(line for line in ended.raw.headers.getlist("Set-Cookie") if line.startswith("shoal-session="))
    assert set(session.split("; ")[1:]) == {"HttpOnly", "Max-Age=28800", "Path=/", "SameSite=Lax"}
    assert list(browser.session.cookies.keys()) == ["shoal-session"], "what the login was for is forgotten"


@pytest.mark.parametrize("state", ["", "x", None])
def test_another_state(site: Site, state: str | None) -> None:
    browser = site.browser()
    query = query_of(browser.way_back())
    asked = {"code": query["code"], "state": state} if state is not None else {"code": query["code"]}
    answer = browser.get("/auth/callback", params=asked)
    assert answer.status_code == 403
    assert "/auth/login" in answer.text
    assert browser.who() == {}
    site.audited("anonymous", "login.get", "denied")


def test_the_state_of_somebody_else(site: Site) -> None:
    """Or else somebody could log others in as himself."""
    mine, theirs = site.browser(), site.browser()
    theirs.way_back()
    answer = theirs.get(mine.way_back())
    assert answer.status_code == 403
    assert theirs.who() == {}


def test_a_browser_that_has_kept_nothing(site: Site) -> None:
    back = site.browser().way_back()
    for cookie in ("", "shoal-login=", "shoal-login=x", "shoal-login=e30", "shoal-login=bnVsbA", _NESTED):
        answer = requests.get(site.server.url + back, headers={"Cookie": cookie}, allow_redirects=False, timeout=30)
        assert answer.status_code == 403, cookie
        assert "shoal-session" not in answer.headers.get("Set-Cookie", "")


def test_a_code_is_good_once(site: Site) -> None:
    browser = site.browser()
    back = browser.way_back()
    kept = browser.session.cookies["shoal-login"]
    assert browser.get(back).status_code == 302
    assert browser.get(back).status_code == 403, "this browser has forgotten the login"
    again = requests.get(
        site.server.url + back, headers={"Cookie": f"shoal-login={kept}"}, allow_redirects=False, timeout=30
    )
    assert again.status_code == 403
    assert "does not take the code" in again.text


def test_a_code_is_not_spent_by_looking(site: Site) -> None:
    browser = site.browser()
    back = browser.way_back()
    assert browser.session.head(site.server.url + back, timeout=30).status_code == 405
    assert browser.get(back).status_code == 302


@pytest.mark.parametrize(
    "claims", [{"nonce": "of another login"}, {"aud": "another-client"}, {"iss": "https://id.example"}]
)
def test_a_token_of_another_login(site: Site, claims: dict[str, Any]) -> None:
    site.provider.claims |= claims
    browser = site.browser()
    answer = browser.log_in()
    assert answer.status_code == 403
    assert browser.who() == {}


def test_an_answer_that_names_another_issuer(site: Site) -> None:
    browser = site.browser()
    site.provider.returns = {"iss": "https://evil.example"}
    before = site.provider.asked["/token"]
    assert browser.log_in().status_code == 403
    assert (site.provider.asked["/token"], browser.who()) == (before, {}), "nobody was given the code"
    site.provider.returns = {"iss": site.provider.issuer}
    assert browser.log_in().status_code == 200


def test_an_issuer_that_lets_nobody_in(site: Site) -> None:
    browser = site.browser()
    site.provider.returns = {"error": "access_denied", "error_description": "<script>alert(1)</script>"}
    answer = browser.log_in()
    assert answer.status_code == 403
    assert "access_denied" in answer.text
    assert "script" not in answer.text
    for returns in ({"error": "<script>"}, {"code": ""}, {"code": "\u00e9"}, {"code": "a\tb"}, {"iss": "\0"}):
        site.provider.returns = returns
        assert "it sends no code" in browser.log_in().text


def test_an_issuer_that_is_away(site: Site) -> None:
    browser = site.browser()
    back = browser.way_back()
    site.provider.answers = {"/token": web.Response(status=503)}
    answer = browser.get(back)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"].startswith("text/html")
    assert browser.who() == {}
    site.provider.answers = {}
    assert browser.get(back).status_code == 302, "the same page works later, as the code was not taken"


@pytest.mark.parametrize("name", ["root", "Root", "local", "ci", "token", "operator", "anonymous", "a b"])
def test_nobody_becomes_somebody_of_ours(site: Site, name: str) -> None:
    browser = site.browser()
    site.provider.claims = {"sub": "1", "preferred_username": name}
    answer = browser.log_in()
    assert answer.status_code == 403
    assert browser.who() == {}
    if name in ("root", "local", "ci"):
        site.audited(name, "login.get", "denied")


def test_several_issuers(start_shoal: StartShoal) -> None:
    """They are listed; and the code of one is not taken to the other one."""
    with ExitStack() as running:
        one, other = (running.enter_context(in_background(OidcProvider())) for _ in range(2))
        other.claims = {"sub": "1", "preferred_username": "Olga"}
        server = start_shoal(workers=2, env=oidc_of(one, other))
        browser = Browser(server.url)
        listed = browser.get("/auth/login?next=/api/v1/whoami")
        assert listed.status_code == 200
        links = [link.replace("&amp;", "&") for link in re.findall('href="(.*?)"', listed.text)]
        assert len(links) == 2
        assert browser.log_in(links[1]).json()["name"] == "olga"
        assert browser.get("/auth/login?issuer=https://evil.example").status_code == 400
        other.returns = {"iss": one.issuer}
        before = other.asked["/token"], one.asked["/token"]
        assert browser.log_in(links[1]).status_code == 403
        other.returns, other.document = {}, {"authorization_response_iss_parameter_supported": True}
        server.restart()
        assert browser.log_in(links[1]).status_code == 403, "one that names itself has to"
        assert (other.asked["/token"], one.asked["/token"]) == before, "nobody was given the code"


@pytest.mark.require("postgres")
def test_a_login_that_one_node_begins_and_another_one_ends(postgres_server: PostgresServer, tmp_path: Path) -> None:
    settings: Settings = {"database": {"url": postgres_server.new_database()}}
    with ExitStack() as running:
        provider = running.enter_context(in_background(OidcProvider()))
        nodes = [ShoalServer(tmp_path / name, settings=settings, env=oidc_of(provider)) for name in ("a", "b")]
        one, other = (running.enter_context(node) for node in nodes)
        browser = Browser(one.url)
        back = browser.way_back()
        browser.url = other.url
        asked_for = {"Host": one.host}  # as the front of several masters sends it on
        assert browser.get(back, headers=asked_for).status_code == 302
        assert browser.who()["name"] == "ann"
        browser.url = one.url
        password = browser.password()
        for node in (one, other):
            given = requests.get(f"{node.url}/auth/token", auth=("ann", password), timeout=30)
            assert given.status_code == 200, given.text


def test_a_registry_whose_people_have_no_browser(shared_shoal: ShoalServer) -> None:
    browser = Browser(shared_shoal.url)
    assert browser.get("/auth/login").status_code == 404
    assert browser.get("/auth/callback?code=x&state=y").status_code == 403
    assert browser.who() == {}, "though everybody may push here"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Forwarded-For": "192.0.2.1"}, 403),
        ({"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"}, 403),
        ({"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}, 302),
    ],
)
def test_a_way_on_which_others_could_read(start_shoal: StartShoal, headers: dict[str, str], status: int) -> None:
    with in_background(OidcProvider()) as provider:
        settings = {"server": {"trusted_proxies": ["127.0.0.0/8"], "public_url": "https://shoal.example"}}
        server = start_shoal(settings=settings, env=oidc_of(provider))
        answer = requests.get(f"{server.url}/auth/login", headers=headers, allow_redirects=False, timeout=30)
        assert answer.status_code == status
        if status == 302:
            assert query_of(answer.headers["Location"])["redirect_uri"] == "https://shoal.example/auth/callback"
            name, *rest = answer.headers["Set-Cookie"].split("; ")
            assert name.startswith("__Host-shoal-login=")
            assert set(rest) == {"HttpOnly", "Max-Age=600", "Path=/", "SameSite=Lax", "Secure"}
        else:
            assert "Set-Cookie" not in answer.headers


def test_no_log_has_what_a_login_is_made_of(start_shoal: StartShoal) -> None:
    """Code, state, nonce, verifier, ID token, cookies, passwords; nor has any log a query."""
    with in_background(OidcProvider()) as provider:
        server = start_shoal(workers=2, env=oidc_of(provider) | {"SHOAL_LOG__LEVEL": "debug"})
        site, planted = Site(server, provider), set[str]()
        ann = site.person("Ann", "devs")
        planted |= {ann.session.cookies["shoal-session"], ann.password()}
        browser = site.browser()
        back = browser.way_back()
        planted |= {browser.session.cookies["shoal-login"], *query_of(back).values()}
        browser.get("/auth/callback", params=query_of(back) | {"state": "a-planted-state"})
        provider.answers = {"/token": web.Response(status=503)}
        browser.get(back)
        provider.answers = {}
        provider.claims |= {"nonce": "a-planted-nonce"}
        browser.get(back)
        requests.get(f"{server.url}/auth/token", auth=("bob", ann.password()), timeout=30)
        planted |= provider.secrets | {"a-planted-state", "a-planted-nonce", provider.client_secret}
        assert len(planted) > 12
        server.stop()
        for file in (server.log, *(server.data / "audit").iterdir()):
            text = file.read_text()
            assert "/auth/callback" in text, file
            assert not [secret for secret in planted if secret in text], file
            assert "callback?" not in text, file
            assert "eyJ" not in text, file
