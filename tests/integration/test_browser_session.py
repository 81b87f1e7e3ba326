"""What a login with a browser gives: the session and its end, and a password for docker."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness.accounts import password_of, signing_key
from tests.harness.administration import Commands
from tests.harness.browser_site import Site
from tests.harness.oidc_provider import forged


def pulls(site: Site, name: str, password: str) -> int:
    """The status of what docker does: a token by the password, then the manifest by the token."""
    url = site.server.url
    scope = {"service": "shoal", "scope": "repository:team/app:pull", "account": name, "offline_token": "true"}
    given = requests.get(f"{url}/auth/token", params=scope, auth=(name, password), timeout=30)
    if given.status_code != 200:
        return given.status_code
    assert "refresh_token" not in given.json(), "whoever is known elsewhere shows again what is known there"
    bearer = {"Authorization": f"Bearer {given.json()['token']}"}
    return requests.get(f"{url}/v2/team/app/manifests/1", headers=bearer, timeout=30).status_code


def test_an_account_of_that_name_ends_a_session(site: Site) -> None:
    gone = site.person("gone", "devs")
    password = gone.password()
    assert pulls(site, "gone", password) == 200
    shoal = Commands("--data", site.server.data)
    shoal("user", "add", "gone", "--password-stdin", text="a password of gone\n")
    assert gone.who() == {}
    assert pulls(site, "gone", password) == 401
    shoal("user", "disable", "gone")
    assert gone.who() == {}
    assert gone.press("/auth/session/password").status_code == 401
    assert gone.log_in().status_code == 403


def test_sessions_and_keys(site: Site) -> None:
    """Another key leaves them alone; one that is revoked takes them along."""
    ann, shoal = site.person("Ann", "devs"), Commands("--data", site.server.data)
    password = ann.password()
    shoal("token", "keys", "rotate")
    assert ann.who()["name"] == "ann"
    assert pulls(site, "ann", password) == 200
    shoal("token", "keys", "rotate", "--revoke")
    assert ann.who() == {}
    assert pulls(site, "ann", password) == 401
    assert site.person("Bea").who()["name"] == "bea"


def test_logging_out(site: Site) -> None:
    here, elsewhere = site.person("Ann"), site.person("Ann")
    assert here.press("/auth/logout").status_code == 200
    assert here.who() == {}
    assert not here.session.cookies.keys()
    assert elsewhere.who()["name"] == "ann"
    site.audited("ann", "logout.post", "done")


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
def test_a_page_of_others_changes_nothing(site: Site, path: str, said: dict[str, Any]) -> None:
    ann = site.person("Ann")
    answer = ann.press(path, **said)
    assert answer.status_code == 403
    assert "only a page of this registry may ask for this" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert ann.who()["name"] == "ann"


def test_a_page_of_ours_without_the_newer_header(site: Site) -> None:
    ann = site.person("Ann")
    assert ann.press("/auth/session/password", None, Origin=site.server.url).status_code == 200


def test_the_cookie_opens_no_repository(site: Site) -> None:
    ann = site.person("Ann", "devs")
    for path in ("/v2/", "/v2/team/app/manifests/1", "/v2/_catalog"):
        assert ann.get(path).status_code == 401, path
    assert ann.session.post(f"{site.server.url}/v2/team/app/blobs/uploads/", timeout=30).status_code == 401
    token = ann.get("/auth/token?scope=repository:team/app:pull").json()["token"]
    answer = requests.get(
        f"{site.server.url}/v2/team/app/manifests/1", headers={"Authorization": f"Bearer {token}"}, timeout=30
    )
    assert answer.status_code == 401, "the token is nobody's"


def test_a_password_for_docker(site: Site) -> None:
    ann, eve = site.person("Ann", "devs"), site.person("Eve")
    page = ann.press("/auth/session/password").text
    assert f"docker login {site.server.host} -u ann" in page
    password, other = ann.password(), eve.password()
    assert pulls(site, "ann", password) == 200
    assert pulls(site, "eve", other) == 401, "no group of hers may"
    for name in ("eve", "bob", "root", "local", "token", "ANN"):
        assert pulls(site, name, password) == 401, name
    with requests.Session() as session:
        session.auth = ("ann", password)
        assert session.get(f"{site.server.url}/v2/team/app/manifests/1", timeout=30).status_code == 200
        assert session.get(f"{site.server.url}/api/v1/users", timeout=30).status_code == 403
    bearer = {"Authorization": f"Bearer {password}"}
    assert requests.get(f"{site.server.url}/v2/", headers=bearer, timeout=30).status_code == 401
    cookie = {"Cookie": f"shoal-session={password}"}
    assert requests.get(f"{site.server.url}/auth/session", headers=cookie, timeout=30).status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": password, "service": "shoal"}
    assert requests.post(f"{site.server.url}/auth/token", data=refresh, timeout=30).status_code == 401
    site.audited("ann", "password.post", "done")
    site.audited("ann", "token.get", "done")


@pytest.mark.require("skopeo")
def test_a_client_that_logs_in_with_it(site: Site, tmp_path: Path) -> None:
    ann = site.person("Ann", "devs")

    def skopeo(*words: str, text: str = "") -> int:
        line = ["skopeo", words[0], "--tls-verify=false", "--authfile", str(tmp_path / "auth.json"), *words[1:]]
        return subprocess.run(line, input=text, text=True, capture_output=True, timeout=60, check=False).returncode

    image = f"docker://{site.server.host}/team/app:1"
    assert skopeo("login", "-u", "bob", "--password-stdin", site.server.host, text=ann.password()) != 0
    assert skopeo("inspect", image) != 0
    assert skopeo("login", "-u", "ann", "--password-stdin", site.server.host, text=ann.password()) == 0
    assert skopeo("inspect", image) == 0


def test_a_password_that_is_over(site: Site) -> None:
    """Signed by the server's own key, as one of yesterday would be."""
    import jwt

    now = time.time()
    key_id, private = signing_key(site.server.data)
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

    assert pulls(site, "old", signed()) == 200
    assert pulls(site, "old", signed(exp=now - 1)) == 401
    assert pulls(site, "old", signed(aud="elsewhere")) == 401
    assert pulls(site, "old", signed(use="session")) == 401
    assert pulls(site, "local", signed(sub="local")) == 401
    assert pulls(site, "old", forged({"alg": "none", "kid": key_id}, claims | {"exp": now + 60})) == 401


def test_whoever_has_a_password_already_gets_none(site: Site) -> None:
    for name in ("local", "root"):
        answer = requests.post(f"{site.server.url}/auth/session/password", auth=(name, password_of(name)), timeout=30)
        assert answer.status_code == 403
        assert "eyJ" not in answer.text


def test_a_header_says_more_than_a_cookie(site: Site) -> None:
    ann = site.person("Ann")
    answer = ann.get("/api/v1/whoami", auth=("local", password_of("local")))
    assert answer.json()["name"] == "local"


def test_programs_are_told_in_json(site: Site) -> None:
    as_json = {"Accept": "application/json"}
    refused = site.browser().get("/auth/session", headers=as_json)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "UNAUTHORIZED")
    ann = site.person("Ann")
    given = ann.press("/auth/session/password", **as_json).json()
    assert pulls(site, given["name"], given["password"]) in (200, 401)
    assert set(given) == {"name", "password", "until"}
