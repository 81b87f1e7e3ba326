"""/api/v1 over HTTP: what it does, whom it refuses, and that each answer is what the document says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from tests.harness.administration import ADMIN, PASSWORD, Commands, as_account, may_log_in
from tests.harness.server import ShoalServer

BASE = "/api/v1"
BOB, BOBS = "bob", "bobs password"


class Api:
    """Asks, and compares each answer with the document of the server."""

    def __init__(self, url: str, name: str = ADMIN, password: str = PASSWORD) -> None:
        self.url = url
        self.session = as_account(name, password)
        self.document = self.session.get(f"{url}{BASE}/openapi.json", timeout=60).json()

    def ask(
        self, method: str, path: str, body: object = None, want: int = 200, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        answer = self.session.request(method, f"{self.url}{BASE}{path}", json=body, headers=headers, timeout=60)
        assert answer.status_code == want, f"{method} {path}: {answer.status_code} {answer.text}"
        self._compare(method, path.partition("?")[0], answer)
        assert "argon2" not in answer.text
        return answer

    def json(self, method: str, path: str, body: object = None, want: int = 200) -> Any:
        return self.ask(method, path, body, want).json()

    def _compare(self, method: str, path: str, answer: requests.Response) -> None:
        described = self._operation(method, BASE + path)["responses"]
        expected = described.get(str(answer.status_code)) or described["default"]
        if "content" not in expected:
            assert answer.content == b""
            return
        assert answer.headers["Content-Type"].startswith("application/json")
        schema = {**expected["content"]["application/json"]["schema"], "components": self.document["components"]}
        OAS31Validator(schema, format_checker=oas31_format_checker).validate(answer.json())

    def _operation(self, method: str, path: str) -> Any:
        for template, methods in self.document["paths"].items():
            parts, wanted = path.split("/"), template.split("/")
            fits = len(parts) == len(wanted) and all(
                w in (p, f"{{{w[1:-1]}}}") for p, w in zip(parts, wanted, strict=True)
            )
            if fits and method.lower() in methods:
                return methods[method.lower()]
        raise AssertionError(f"{method} {path} is not in the document")


def _is_part(part: str, wanted: str) -> bool:
    return wanted == part or wanted.startswith("{")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShoalServer]:
    data = tmp_path_factory.mktemp("api") / "data"
    Commands("--data", data).add_admin()
    with ShoalServer(data, workers=2) as server:
        yield server
    assert not server.complaints()
    for secret in (PASSWORD, BOBS, "argon2"):
        assert secret not in server.log_text()


@pytest.fixture
def api(server: ShoalServer) -> Iterator[Api]:
    """All but the administrator are gone at the end."""
    api = Api(server.url)
    yield api
    for user in api.json("GET", "/users")["users"]:
        if user["name"] != ADMIN:
            api.ask("DELETE", f"/users/{user['name']}", want=204)
    for robot in api.json("GET", "/robots")["robots"]:
        api.ask("DELETE", f"/robots/{robot['name']}", want=204)


@pytest.fixture
def bob(api: Api) -> Api:
    api.ask("POST", "/users", {"name": BOB, "password": BOBS}, 201)
    return Api(api.url, BOB, BOBS)


def test_users(api: Api) -> None:
    made = api.json("POST", "/users", {"name": BOB, "password": BOBS}, 201)
    assert (made["name"], made["is_admin"], made["is_disabled"]) == (BOB, False, False)
    assert api.json("GET", "/users/bob") == made
    assert [user["name"] for user in api.json("GET", "/users")["users"]] == [ADMIN, BOB]
    assert may_log_in(api.url, BOB, BOBS)
    assert api.json("PATCH", "/users/bob", {"is_disabled": True})["is_disabled"]
    assert not may_log_in(api.url, BOB, BOBS)
    changed = api.json("PATCH", "/users/bob", {"is_disabled": False, "is_admin": True})
    assert (changed["is_disabled"], changed["is_admin"]) == (False, True)
    assert api.json("PATCH", "/users/bob", {}) == changed
    api.ask("PUT", "/users/bob/password", {"password": "another password"}, 204)
    assert not may_log_in(api.url, BOB, BOBS)
    api.ask("DELETE", "/users/bob", want=204)
    for method, path in (("GET", "/users/bob"), ("DELETE", "/users/bob")):
        assert api.json(method, path, want=404)["errors"][0]["code"] == "NAME_UNKNOWN"
    api.ask("PATCH", "/users/bob", {"is_disabled": True}, 404)
    api.ask("POST", "/users", {"name": ADMIN, "password": BOBS}, 409)
    assert api.json("DELETE", f"/users/{ADMIN}", want=403)["errors"][0]["code"] == "DENIED"


def test_robots(api: Api) -> None:
    grants = [{"pattern": "team/**", "rights": "push,pull"}]
    made = api.json("POST", "/robots", {"name": "ci", "grants": grants, "expires_in": 3600}, 201)
    assert may_log_in(api.url, "ci", made["secret"])
    assert Api(api.url, "ci", made["secret"]).json("GET", "/whoami")["name"] == "ci"
    robot = api.json("GET", "/robots/ci")
    assert robot["expires"] == made["expires"]
    assert made["secret"] not in api.ask("GET", "/robots").text
    renewed = api.json("POST", "/robots/ci/secret", {"expires_in": 7200}, 201)
    assert renewed["expires"] > made["expires"]
    assert [may_log_in(api.url, "ci", secret["secret"]) for secret in (made, renewed)] == [False, True]
    assert api.json("PATCH", "/robots/ci", {"is_disabled": True})["is_disabled"]
    assert not may_log_in(api.url, "ci", renewed["secret"])
    api.ask("GET", "/users/ci", want=404)
    api.ask("PUT", "/users/ci/password", {"password": BOBS}, 404)
    api.ask("DELETE", "/robots/ci", want=204)
    assert api.json("GET", "/grants?subject=ci")["grants"] == []


def test_groups_and_grants(api: Api, bob: Api) -> None:
    assert api.json("PUT", "/groups/devs/members/bob") == {"name": "devs", "members": ["bob"]}
    assert bob.json("GET", "/whoami") == {"name": "bob", "is_admin": False, "groups": ["devs"]}
    assert api.json("GET", "/groups")["groups"] == [api.json("GET", "/groups/devs")]
    api.ask("PUT", "/groups/devs/members/nobody", want=404)
    api.ask("GET", "/groups/ops", want=404)
    body = {"subject": "@devs", "pattern": "team/**", "rights": "push, pull"}
    assert api.json("PUT", "/grants", body) == {"subject": "@devs", "pattern": "team/**", "rights": "pull,push"}
    api.ask("PUT", "/grants", {**body, "subject": "anonymous", "rights": "pull"})
    assert len(api.json("GET", "/grants?repository=team/app")["grants"]) == 2
    assert api.json("GET", "/grants?repository=other/app")["grants"] == []
    assert [grant["subject"] for grant in api.json("GET", "/grants?pattern=team/**&subject=@devs")["grants"]] == [
        "@devs"
    ]
    for subject in ("@devs", "anonymous"):
        api.ask("DELETE", f"/grants?subject={subject}&pattern=team/**", want=204)
    api.ask("DELETE", "/grants?subject=@devs&pattern=team/**", want=404)
    api.ask("DELETE", "/grants?subject=@devs", want=400)
    assert api.json("DELETE", "/groups/devs/members/bob")["members"] == []
    api.ask("DELETE", "/groups/devs/members/bob", want=404)


def test_keys(api: Api) -> None:
    before = api.json("GET", "/keys")["keys"]
    made = api.json("POST", "/keys", {}, 201)
    keys = {key["id"]: key["retired"] for key in api.json("GET", "/keys")["keys"]}
    assert keys[made["id"]] is None
    assert all(keys[key["id"]] for key in before)
    assert "PRIVATE" not in api.ask("GET", "/keys").text


def test_long_lists_come_in_pages(api: Api) -> None:
    for number in range(5):
        api.ask("PUT", "/grants", {"subject": "bob", "pattern": f"page/{number}/**", "rights": "pull"})
    found, path = [], "/grants?subject=bob&n=2"
    while path:
        answer = api.ask("GET", path)
        grants = answer.json()["grants"]
        assert 1 <= len(grants) <= 2
        found += [grant["pattern"] for grant in grants]
        link = answer.links.get("next")
        path = urljoin(f"{api.url}{BASE}/grants", link["url"]).removeprefix(api.url + BASE) if link else ""
    assert found == [f"page/{number}/**" for number in range(5)]
    for number in range(5):
        api.ask("DELETE", f"/grants?subject=bob&pattern=page/{number}/**", want=204)
    for bad in ("0", "-1", "x", "1e3", "99999999999"):
        assert api.json("GET", f"/grants?n={bad}", want=400)["errors"][0]["code"] == "PAGINATION_NUMBER_INVALID"
    assert "known here: n, last" in api.ask("GET", "/users?nmae=bob", want=400).text


def test_who_is_refused(api: Api, bob: Api) -> None:
    users = f"{api.url}{BASE}/users"
    nobody = requests.get(users, timeout=60)
    assert nobody.status_code == 401
    assert 'scope="registry:admin:*"' in nobody.headers["WWW-Authenticate"]
    assert requests.get(f"{api.url}{BASE}/whoami", timeout=60).status_code == 401
    assert requests.get(users, auth=(ADMIN, "wrong password"), timeout=60).status_code == 401
    for path in ("/users", "/robots", "/groups", "/grants", "/keys", "/users/absent"):
        bob.ask("GET", path, want=403)
    bob.ask("PATCH", "/users/bob", {"is_admin": True}, 403)
    bob.ask("POST", "/keys", {}, 403)


def test_tokens_need_the_scope_and_the_right(api: Api, bob: Api) -> None:
    def status(who: Api, scope: str) -> int:
        query = {"service": "shoal", "scope": scope}
        token = who.session.get(f"{api.url}/auth/token", params=query, timeout=60).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{api.url}{BASE}/users", headers=headers, timeout=60).status_code

    assert status(api, "registry:admin:*") == 200
    assert status(api, "registry:catalog:*") == 401
    assert status(api, "repository:admin:*") == 401
    assert status(bob, "registry:admin:*") == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff",
        b'{"name": "carol"}',
        b'{"name": "carol", "password": 12345678}',
        b'{"name": "carol", "password": "12345678", "is_admin": "yes"}',
        b'{"name": "carol", "password": "12345678", "is_admin": 1}',
        b'{"name": "carol", "password": "12345678", "kind": "robot"}',
        b'{"name": ["carol"], "password": "12345678"}',
        b'{"name": "Carol", "password": "12345678"}',
        b'{"name": "anonymous", "password": "12345678"}',
        b'{"name": "' + b"c" * 65 + b'", "password": "12345678"}',
        b'{"name": "carol", "password": "1234567"}',
        b'{"name": "carol", "password": "' + b"x" * 513 + b'"}',
        b'{"name": "carol", "password": "1234567\\u0000"}',
        b'{"name": "carol", "password": "12345678"} {}',
        b"[" * 30_000,
        b'{"name": ' + b"[" * 30_000,
    ],
)
def test_bodies_that_are_refused(api: Api, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.session.post(f"{api.url}{BASE}/users", data=body, headers=headers, timeout=60)
    assert answer.status_code == 400, answer.text
    assert len(answer.json()["errors"][0]["message"]) < 400
    assert [user["name"] for user in api.json("GET", "/users")["users"]] == [ADMIN]


def test_the_form_of_a_request(api: Api) -> None:
    url, good = f"{api.url}{BASE}/users", json.dumps({"name": "carol", "password": "12345678"})
    for content_type in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        # what a page of another site can make a browser send
        answer = api.session.post(url, data=good, headers={"Content-Type": content_type}, timeout=60)
        assert (answer.status_code, "application/json" in answer.text) == (415, True)
    answer = api.session.post(f"{api.url}{BASE}/keys", timeout=60)
    assert answer.status_code == 415, "nor does a body that says nothing make it any easier"
    headers = {"Content-Type": "application/json"}
    answer = api.session.post(url, data=b" " * 70_000 + good.encode(), headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "SIZE_INVALID")
    answer = api.session.put(url, data=good, headers=headers, timeout=60)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
    answer = api.session.head(url, timeout=60)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Cache-Control"] == "no-store"


def test_limits(api: Api) -> None:
    body = {"pattern": "team/**", "bytes": 1000, "tags": 3, "immutable": ["v*"]}
    assert api.json("PUT", "/limits", body) == body
    assert api.json("PUT", "/limits", {"pattern": "**", "tags": 5})["bytes"] is None
    assert [limit["pattern"] for limit in api.json("GET", "/limits")["limits"]] == ["**", "team/**"]
    for wrong in ({"pattern": "te*m"}, {"pattern": "a", "bytes": -1}, {"pattern": "a", "immutable": ["a b"]}):
        api.ask("PUT", "/limits", wrong, want=400)
    for pattern in ("team/**", "**"):
        api.ask("DELETE", f"/limits?pattern={pattern}", want=204)
    api.ask("DELETE", "/limits?pattern=**", want=404)
    api.ask("DELETE", "/limits", want=400)
