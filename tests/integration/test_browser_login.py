"""Logins with a browser at a server with two workers: the way to the issuer and back, the session, and its password."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from tests.conftest import StartShoal
from tests.harness.accounts import password_of, signing_key, with_accounts
from tests.harness.administration import Commands
from tests.harness.browser import Browser, query_of
from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.oidc_provider import OidcProvider, forged, in_background
from tests.harness.postgres import PostgresServer
from tests.harness.server import Settings, ShoalServer

IMAGE = small_image(7801)
_NESTED = "shoal-login=" + base64.urlsafe_b64encode(b'{"x":' + b"[" * 4000).decode()


def oidc_of(*providers: OidcProvider) -> dict[str, str]:
    """The settings of a registry whose people are those of the providers."""
    return {
        "SHOAL_AUTH__OIDC": json.dumps(
            [
                {
                    "issuer": provider.issuer,
                    "client_id": provider.client_id,
                    "client_secret": provider.client_secret,
                    "groups_claim": "groups",
                    "timeout": 2,
                }
                for provider in providers
            ]
        )
    }


@dataclass(frozen=True)
class Place:
    """A registry with an image team/app that @devs may pull, an account `local` and a robot `ci`."""

    server: ShoalServer
    provider: OidcProvider

    def browser(self) -> Browser:
        return Browser(self.server.url)

    def person(self, name: str, *groups: str) -> Browser:
        """Somebody who has logged in."""
        self.provider.claims = {"sub": f"id of {name}", "preferred_username": name, "groups": list(groups)}
        browser = self.browser()
        answer = browser.log_in()
        assert answer.status_code == 200, answer.text
        return browser

    def audited(self, *wanted: str) -> None:
        """Waits for a line of the audit log: who, what, result."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for file in (self.server.data / "audit").glob("*.ndjson"):
                for line in map(json.loads, file.read_text().splitlines()):
                    if (line["who"], line["what"], line["result"]) == wanted:
                        assert line["origin"] == "127.0.0.1"
                        return
            time.sleep(0.05)
        raise AssertionError(f"no line of the audit log is {wanted}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = tmp_path_factory.mktemp("browsers") / "data"
    with_accounts(data, ["local"], [("@devs", "team/**", "pull")], robots={"ci": None})
    with (
        in_background(OidcProvider()) as provider,
        ShoalServer(data, workers=2, env=oidc_of(provider)) as server,
        RegistryClient(server.url) as client,
    ):
        client.session.auth = ("root", password_of("root"))
        client.push_image("team/app", IMAGE, "1")
        yield Place(server, provider)
    assert not [entry for entry in server.complaints() if entry.get("status") != 503]


@pytest.fixture(autouse=True)
def usual(request: pytest.FixtureRequest) -> None:
    """The provider says what it usually says."""
    if "place" in request.fixturenames:
        provider = request.getfixturevalue("place").provider
        provider.claims = {"sub": "4711", "preferred_username": "Ann", "groups": ["devs"]}
        provider.document, provider.answers, provider.returns = {}, {}, {}


def test_a_login(place: Place) -> None:
    browser = place.browser()
    answer = browser.log_in()
    assert [hop.status_code for hop in answer.history] == [302, 302, 302]
    assert answer.url == f"{place.server.url}/auth/session"
    assert "You are ann" in answer.text
    assert "devs" in answer.text
    for _ in range(6):  # whichever worker answers
        who = browser.who()
        assert (who["name"], who["groups"]) == ("ann", ["devs"])
    assert browser.get("/api/v1/whoami").json() == {"name": "ann", "is_admin": False, "groups": ["devs"]}
    place.audited("ann", "login.get", "done")


def test_pages_say_what_browsers_may_do_with_them(place: Place) -> None:
    ann = place.person("Ann")
    for answer in (ann.get("/auth/session"), ann.press("/auth/session/password"), place.browser().get("/auth/session")):
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.findall("<script|src=|http:|https:|style=", answer.text)


def test_a_login_leads_back_to_where_it_began(place: Place) -> None:
    browser = place.browser()
    answer = browser.log_in("/auth/login?next=/api/v1/whoami?x=1%26y=2")
    assert answer.url == f"{place.server.url}/api/v1/whoami?x=1&y=2"


@pytest.mark.parametrize(
    "path", ["//evil.example", "/%5Cevil.example", "https://evil.example", "/%09/evil.example", ""]
)
def test_a_login_leads_nowhere_else(place: Place, path: str) -> None:
    answer = place.browser().get(f"/auth/login?next={path}")
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_where_the_cookie_itself_says_that_a_login_leads_elsewhere(place: Place) -> None:
    """Whoever can plant a cookie still leads nobody to another site."""
    browser = place.browser()
    back = browser.way_back()
    kept = browser.session.cookies["shoal-login"]
    fields = json.loads(base64.urlsafe_b64decode(kept + "==="))
    changed = base64.urlsafe_b64encode(json.dumps(fields | {"next": "//evil.example"}).encode()).decode().rstrip("=")
    answer = requests.get(
        place.server.url + back, headers={"Cookie": f"shoal-login={changed}"}, allow_redirects=False, timeout=30
    )
    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_cookies(place: Place) -> None:
    browser = place.browser()
    begun = browser.get("/auth/login").headers["Set-Cookie"]
    assert begun.startswith("shoal-login=")
    assert set(begun.split("; ")[1:]) == {"HttpOnly", "Max-Age=600", "Path=/auth", "SameSite=Lax"}
    ended = browser.get(browser.way_back())
    session = next(line for line in ended.raw.headers.getlist("Set-Cookie") if line.startswith("shoal-session="))
    assert set(session.split("; ")[1:]) == {"HttpOnly", "Max-Age=28800", "Path=/", "SameSite=Lax"}
    assert list(browser.session.cookies.keys()) == ["shoal-session"], "what the login was for is forgotten"


@pytest.mark.parametrize("state", ["", "x", None])
def test_another_state(place: Place, state: str | None) -> None:
    browser = place.browser()
    query = query_of(browser.way_back())
    asked = {"code": query["code"], "state": state} if state is not None else {"code": query["code"]}
    answer = browser.get("/auth/callback", params=asked)
    assert answer.status_code == 403
    assert "/auth/login" in answer.text
    assert browser.who() == {}
    place.audited("anonymous", "login.get", "denied")


def test_the_state_of_somebody_else(place: Place) -> None:
    """Or else somebody could log others in as himself."""
    mine, theirs = place.browser(), place.browser()
    theirs.way_back()
    answer = theirs.get(mine.way_back())
    assert answer.status_code == 403
    assert theirs.who() == {}


def test_a_browser_that_has_kept_nothing(place: Place) -> None:
    back = place.browser().way_back()
    for cookie in ("", "shoal-login=", "shoal-login=x", "shoal-login=e30", "shoal-login=bnVsbA", _NESTED):
        answer = requests.get(place.server.url + back, headers={"Cookie": cookie}, allow_redirects=False, timeout=30)
        assert answer.status_code == 403, cookie
        assert "shoal-session" not in answer.headers.get("Set-Cookie", "")


def test_a_code_is_good_once(place: Place) -> None:
    browser = place.browser()
    back = browser.way_back()
    kept = browser.session.cookies["shoal-login"]
    assert browser.get(back).status_code == 302
    assert browser.get(back).status_code == 403, "this browser has forgotten the login"
    again = requests.get(
        place.server.url + back, headers={"Cookie": f"shoal-login={kept}"}, allow_redirects=False, timeout=30
    )
    assert again.status_code == 403
    assert "does not take the code" in again.text


def test_a_code_is_not_spent_by_looking(place: Place) -> None:
    browser = place.browser()
    back = browser.way_back()
    assert browser.session.head(place.server.url + back, timeout=30).status_code == 405
    assert browser.get(back).status_code == 302


@pytest.mark.parametrize(
    "claims", [{"nonce": "of another login"}, {"aud": "another-client"}, {"iss": "https://id.example"}]
)
def test_a_token_of_another_login(place: Place, claims: dict[str, Any]) -> None:
    place.provider.claims |= claims
    browser = place.browser()
    answer = browser.log_in()
    assert answer.status_code == 403
    assert browser.who() == {}


def test_an_answer_that_names_another_issuer(place: Place) -> None:
    browser = place.browser()
    place.provider.returns = {"iss": "https://evil.example"}
    before = place.provider.asked["/token"]
    assert browser.log_in().status_code == 403
    assert (place.provider.asked["/token"], browser.who()) == (before, {}), "nobody was given the code"
    place.provider.returns = {"iss": place.provider.issuer}
    assert browser.log_in().status_code == 200


def test_an_issuer_that_lets_nobody_in(place: Place) -> None:
    browser = place.browser()
    place.provider.returns = {"error": "access_denied", "error_description": "<script>alert(1)</script>"}
    answer = browser.log_in()
    assert answer.status_code == 403
    assert "access_denied" in answer.text
    assert "script" not in answer.text
    for returns in ({"error": "<script>"}, {"code": ""}, {"code": "\u00e9"}, {"code": "a\tb"}, {"iss": "\0"}):
        place.provider.returns = returns
        assert "it sends no code" in browser.log_in().text


def test_an_issuer_that_is_away(place: Place) -> None:
    browser = place.browser()
    back = browser.way_back()
    place.provider.answers = {"/token": web.Response(status=503)}
    answer = browser.get(back)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"].startswith("text/html")
    assert browser.who() == {}
    place.provider.answers = {}
    assert browser.get(back).status_code == 302, "the same page works later, as the code was not taken"


@pytest.mark.parametrize("name", ["root", "Root", "local", "ci", "token", "operator", "anonymous", "a b"])
def test_nobody_becomes_somebody_of_ours(place: Place, name: str) -> None:
    browser = place.browser()
    place.provider.claims = {"sub": "1", "preferred_username": name}
    answer = browser.log_in()
    assert answer.status_code == 403
    assert browser.who() == {}
    if name in ("root", "local", "ci"):
        place.audited(name, "login.get", "denied")


def test_an_account_of_that_name_ends_a_session(place: Place) -> None:
    gone = place.person("gone", "devs")
    password = gone.password()
    assert pulls(place, "gone", password) == 200
    shoal = Commands("--data", place.server.data)
    shoal("user", "add", "gone", "--password-stdin", text="a password of gone\n")
    assert gone.who() == {}
    assert pulls(place, "gone", password) == 401
    shoal("user", "disable", "gone")
    assert gone.who() == {}
    assert gone.press("/auth/session/password").status_code == 401
    assert gone.log_in().status_code == 403


def test_sessions_and_keys(place: Place) -> None:
    """Another key leaves them alone; one that is revoked takes them along."""
    ann, shoal = place.person("Ann", "devs"), Commands("--data", place.server.data)
    password = ann.password()
    shoal("token", "keys", "rotate")
    assert ann.who()["name"] == "ann"
    assert pulls(place, "ann", password) == 200
    shoal("token", "keys", "rotate", "--revoke")
    assert ann.who() == {}
    assert pulls(place, "ann", password) == 401
    assert place.person("Bea").who()["name"] == "bea"


def test_logging_out(place: Place) -> None:
    here, elsewhere = place.person("Ann"), place.person("Ann")
    assert here.press("/auth/logout").status_code == 200
    assert here.who() == {}
    assert not here.session.cookies.keys()
    assert elsewhere.who()["name"] == "ann"
    place.audited("ann", "logout.post", "done")


FOREIGN = [
    {"site": "cross-site"},
    {"site": "same-site"},
    {"site": "cross-site", "Origin": "https://evil.example"},
    {"site": None, "Origin": "https://evil.example"},
    {"site": None, "Origin": "null"},
    {"site": None},
]


@pytest.mark.parametrize("said", FOREIGN, ids=str)
@pytest.mark.parametrize("path", ["/auth/session/password", "/auth/logout", "/api/v1/users"])
def test_a_page_of_others_changes_nothing(place: Place, path: str, said: dict[str, Any]) -> None:
    ann = place.person("Ann")
    answer = ann.press(path, **said)
    assert answer.status_code == 403
    assert "only a page of this registry may ask for this" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert ann.who()["name"] == "ann"


def test_a_page_of_ours_without_the_newer_header(place: Place) -> None:
    ann = place.person("Ann")
    assert ann.press("/auth/session/password", None, Origin=place.server.url).status_code == 200


def test_the_cookie_opens_no_repository(place: Place) -> None:
    ann = place.person("Ann", "devs")
    for path in ("/v2/", "/v2/team/app/manifests/1", "/v2/_catalog"):
        assert ann.get(path).status_code == 401, path
    assert ann.session.post(f"{place.server.url}/v2/team/app/blobs/uploads/", timeout=30).status_code == 401
    token = ann.get("/auth/token?scope=repository:team/app:pull").json()["token"]
    answer = requests.get(
        f"{place.server.url}/v2/team/app/manifests/1", headers={"Authorization": f"Bearer {token}"}, timeout=30
    )
    assert answer.status_code == 401, "the token is nobody's"


def pulls(place: Place, name: str, password: str) -> int:
    """The status of what docker does: a token by the password, then the manifest by the token."""
    url = place.server.url
    scope = {"service": "shoal", "scope": "repository:team/app:pull", "account": name, "offline_token": "true"}
    given = requests.get(f"{url}/auth/token", params=scope, auth=(name, password), timeout=30)
    if given.status_code != 200:
        return given.status_code
    assert "refresh_token" not in given.json(), "whoever is known elsewhere shows again what is known there"
    bearer = {"Authorization": f"Bearer {given.json()['token']}"}
    return requests.get(f"{url}/v2/team/app/manifests/1", headers=bearer, timeout=30).status_code


def test_a_password_for_docker(place: Place) -> None:
    ann, eve = place.person("Ann", "devs"), place.person("Eve")
    page = ann.press("/auth/session/password").text
    assert f"docker login {place.server.host} -u ann" in page
    password, other = ann.password(), eve.password()
    assert pulls(place, "ann", password) == 200
    assert pulls(place, "eve", other) == 401, "no group of hers may"
    for name in ("eve", "bob", "root", "local", "token", "ANN"):
        assert pulls(place, name, password) == 401, name
    with requests.Session() as session:
        session.auth = ("ann", password)
        assert session.get(f"{place.server.url}/v2/team/app/manifests/1", timeout=30).status_code == 200
        assert session.get(f"{place.server.url}/api/v1/users", timeout=30).status_code == 403
    bearer = {"Authorization": f"Bearer {password}"}
    assert requests.get(f"{place.server.url}/v2/", headers=bearer, timeout=30).status_code == 401
    cookie = {"Cookie": f"shoal-session={password}"}
    assert requests.get(f"{place.server.url}/auth/session", headers=cookie, timeout=30).status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": password, "service": "shoal"}
    assert requests.post(f"{place.server.url}/auth/token", data=refresh, timeout=30).status_code == 401
    place.audited("ann", "password.post", "done")
    place.audited("ann", "token.get", "done")


@pytest.mark.require("skopeo")
def test_a_client_that_logs_in_with_it(place: Place, tmp_path: Path) -> None:
    ann = place.person("Ann", "devs")

    def skopeo(*words: str, text: str = "") -> int:
        line = ["skopeo", words[0], "--tls-verify=false", "--authfile", str(tmp_path / "auth.json"), *words[1:]]
        return subprocess.run(line, input=text, text=True, capture_output=True, timeout=60, check=False).returncode

    image = f"docker://{place.server.host}/team/app:1"
    assert skopeo("login", "-u", "bob", "--password-stdin", place.server.host, text=ann.password()) != 0
    assert skopeo("inspect", image) != 0
    assert skopeo("login", "-u", "ann", "--password-stdin", place.server.host, text=ann.password()) == 0
    assert skopeo("inspect", image) == 0


def test_a_password_that_is_over(place: Place) -> None:
    """Signed by the server's own key, as one of yesterday would be."""
    import jwt

    now = time.time()
    key_id, private = signing_key(place.server.data)
    claims = {
        "iss": "shoal",
        "aud": "shoal",
        "sub": "old",
        "iat": now - 9,
        "use": "login",
        "groups": ["devs"],
        "access": [],
    }

    def signed(**changed: object) -> str:
        return jwt.encode(claims | {"exp": now + 60} | changed, private, "EdDSA", {"kid": key_id})

    assert pulls(place, "old", signed()) == 200
    assert pulls(place, "old", signed(exp=now - 1)) == 401
    assert pulls(place, "old", signed(aud="elsewhere")) == 401
    assert pulls(place, "old", signed(use="session")) == 401
    assert pulls(place, "local", signed(sub="local")) == 401
    assert pulls(place, "old", forged({"alg": "none", "kid": key_id}, claims | {"exp": now + 60})) == 401


def test_whoever_has_a_password_already_gets_none(place: Place) -> None:
    for name in ("local", "root"):
        answer = requests.post(f"{place.server.url}/auth/session/password", auth=(name, password_of(name)), timeout=30)
        assert answer.status_code == 403
        assert "eyJ" not in answer.text


def test_a_header_says_more_than_a_cookie(place: Place) -> None:
    ann = place.person("Ann")
    answer = ann.get("/api/v1/whoami", auth=("local", password_of("local")))
    assert answer.json()["name"] == "local"


def test_programs_are_told_in_json(place: Place) -> None:
    as_json = {"Accept": "application/json"}
    refused = place.browser().get("/auth/session", headers=as_json)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "UNAUTHORIZED")
    ann = place.person("Ann")
    given = ann.press("/auth/session/password", **as_json).json()
    assert pulls(place, given["name"], given["password"]) in (200, 401)
    assert set(given) == {"name", "password", "until"}


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
        place, planted = Place(server, provider), set[str]()
        ann = place.person("Ann", "devs")
        planted |= {ann.session.cookies["shoal-session"], ann.password()}
        browser = place.browser()
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
