"""Every route x every method x every visitor, against what the route's right and the visitor alone say."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from registry.config import Settings
from registry.http.router import RIGHTS_OF_ROUTES, Route
from registry.processes.node_parts import NodeParts
from registry.processes.process import Process
from registry.storage.metadata.commits import CommitCounter
from registry.telemetry.metrics import Metrics
from tests.harness.content import artifact, small_image
from tests.rights.conftest import Guarded
from tests.rights.visitors import HIDDEN, OWN, VISITORS, Visitor

IMAGE = small_image(7001)
REFERRER = artifact(subject=IMAGE.manifest)
REPOSITORY_RIGHTS = {"pull", "push", "delete"}
VARIED: dict[str, list[dict[str, Any]]] = {
    "blob": [{"headers": {"Range": "bytes=0-9"}}, {"headers": {"If-None-Match": f'"{IMAGE.layers[0].digest}"'}}],
    "manifest": [{"headers": {"If-None-Match": f'"{IMAGE.digest}"'}}],
    "tags": [{"params": {"n": "0"}}, {"params": {"n": "1", "last": "0"}}],
    "referrers": [{"params": {"artifactType": "application/vnd.example.thing"}}],
    "catalog": [{"params": {"n": "1", "last": HIDDEN}}],
    "uploads": [{"params": {"mount": IMAGE.config.digest, "from": f"{HIDDEN}/shared"}}],
}
"""Requests of one route in other forms: the right to them is the same. By the route's label."""
ALONE: dict[str, dict[str, Any]] = {"replication.log": {"params": {"after": "999999999"}}}
"""The one form of a route whose answer would not end otherwise."""
FOUND = {"manifest", "blob", "tags", "referrers", "catalog"}
"""Labels of what reads something that is there."""
_ADDRESSES = (f"10.{a}.{b}.{c}" for a, b, c in itertools.product(range(256), repeat=3))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Route]]:
    """The routes of a process that serves."""
    folder: Path = tmp_path_factory.mktemp("table")
    process = Process(Settings(data=folder), Metrics(folder, "test"), CommitCounter.create())
    nothing = cast("Any", None)  # no handler runs
    yield process.routes(NodeParts(nothing, nothing, nothing, nothing, nothing, nothing, nothing))
    process.metrics.close()
    process.executor.shutdown()


@dataclass(frozen=True)
class Visit:
    """A request of the matrix."""

    route: Route
    method: str
    repository: str
    options: dict[str, Any]

    @property
    def path(self) -> str:
        is_blob = "/blobs/" in self.route.template
        digest = IMAGE.layers[0].digest if is_blob else IMAGE.digest
        known = {"{name}": self.repository, "{reference}": "1", "{digest}": digest, "{upload}": "none"}
        path = self.route.template
        for parameter, value in known.items():
            path = path.replace(parameter, value)
        return path.replace("{", "").replace("}", "")  # other parameters: their own names will do

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.options or ''}"


def visits(table: list[Route], repository: str) -> list[Visit]:
    """What deletes comes last."""
    found = []
    for route in sorted(table, key=lambda route: route.method == "DELETE"):
        for method in (route.method, "HEAD") if route.method == "GET" else (route.method,):
            forms: list[dict[str, Any]] = [ALONE.get(route.label, {}), *VARIED.get(route.label, [])]
            found += [Visit(route, method, repository, options) for options in forms]
    return found


@dataclass(frozen=True)
class Decision:
    """`status`: None where the visitor is let in, and the handler has its say; `error`: of the challenge."""

    status: int | None = None
    error: str = ""


def decision(visitor: Visitor, visit: Visit) -> Decision:
    """What has to come of it: by the right that the route declares and by what the visitor may do, and nothing else."""
    right = visit.route.right
    if right == "none":
        return Decision()
    if visitor.shows == "cookie":
        return decision_by_cookie(visitor, visit)
    is_accepted = visitor.is_valid and (not visitor.only or right in visitor.only)
    if not is_accepted or (visitor.has_expired and not visit.route.outlives_token):
        return Decision(401, "invalid_token")
    rights = visitor.everywhere | (visitor.own if visit.repository.startswith(f"{OWN}/") else frozenset())
    enough = {"known": visitor.is_known, "catalog": visitor.may_list, "admin": visitor.may_administer}
    enough["replicate"] = enough["promote"] = bool(visitor.only)
    if right in rights or enough.get(right, False):
        return Decision()
    if visitor.is_anonymous:
        return Decision(401)
    return Decision(401, "insufficient_scope") if visitor.shows == "bearer" else Decision(403)


def decision_by_cookie(visitor: Visitor, visit: Visit) -> Decision:
    """A browser is nobody but at the administration and at its own session, and nobody moves it from elsewhere."""
    if not (visit.route.takes_session and visitor.is_valid):
        return Decision(401)
    is_moved = visitor.site != "same-origin" and visit.method not in ("GET", "HEAD")
    return Decision() if visit.route.right in ("known", "session") and not is_moved else Decision(403)


def deviation(visit: Visit, expected: Decision, answer: requests.Response) -> str | None:
    challenge = answer.headers.get("WWW-Authenticate", "")
    if visit.route.label in ("token", "login"):  # logging in is what it is for: it decides by itself, and tells in 401
        return f"{visit}: {answer.text[:200]}" if answer.status_code >= 500 or challenge else None
    if expected.status is None:
        refused = answer.status_code in (401, 403, 429, 500)
        missing = visit.route.label in FOUND and visit.method in ("GET", "HEAD") and answer.status_code >= 400
        wrong = refused or missing
    else:
        error = f',error="{expected.error}"' if expected.error else '"'
        told = challenge.startswith('Bearer realm="https://') and challenge.endswith(error)
        named = visit.route.right not in REPOSITORY_RIGHTS or f":{visit.repository}:" in challenge
        wrong = answer.status_code != expected.status or (expected.status == 401 and not (told and named))
        wrong = wrong or (expected.error == "" and "error=" in challenge)
    return f"{visit}: {answer.status_code} {challenge} {answer.text[:200]}, expected {expected}" if wrong else None


@pytest.fixture(scope="session")
def shared(guarded: Guarded) -> None:
    """Repositories for the visitors who may not delete."""
    for folder in (OWN, HIDDEN):
        fill(guarded, f"{folder}/shared")


def fill(guarded: Guarded, repository: str) -> None:
    guarded.as_admin.push_image(repository, IMAGE, "1")
    guarded.as_admin.push_image(repository, REFERRER)


@pytest.mark.parametrize("visitor", VISITORS, ids=lambda visitor: visitor.name)
@pytest.mark.usefixtures("shared")
def test_the_matrix(guarded: Guarded, table: list[Route], visitor: Visitor) -> None:
    own = "shared"
    if "delete" in visitor.own and not visitor.has_expired:
        own = visitor.name.replace(" ", "-")
        for folder in (OWN, HIDDEN):
            fill(guarded, f"{folder}/{own}")
    hidden = [visit for visit in visits(table, f"{HIDDEN}/{own}") if "{name}" in visit.route.template]
    wanted = [*hidden, *visits(table, f"{OWN}/{own}")]
    if visitor.shows == "basic" and not visitor.is_valid:  # each costs what hashing a password costs
        wanted = list({(visit.route.right, visit.method): visit for visit in visits(table, f"{OWN}/{own}")}.values())
    deviations = []
    with requests.Session() as session:
        for visit in wanted:
            answer = ask(session, guarded, visitor, visit)
            deviations.append(deviation(visit, decision(visitor, visit), answer))
    found = [line for line in deviations if line]
    assert not found, "\n".join(found)


def ask(session: requests.Session, guarded: Guarded, visitor: Visitor, visit: Visit) -> requests.Response:
    headers = {**visit.options.get("headers", {}), "X-Forwarded-For": next(_ADDRESSES), "X-Forwarded-Proto": "https"}
    shown = visitor.header(guarded.keys, visit.repository)
    if shown is not None:
        headers["Authorization"] = shown.encode()
    if visitor.cookie is not None:  # by https, as the header above says
        headers["Cookie"] = f"__Host-shoal-session={visitor.cookie(guarded.keys, visit.repository)}"
        headers["Sec-Fetch-Site"] = visitor.site
    options = {**visit.options, "headers": headers}
    return session.request(visit.method, guarded.server.url + visit.path, allow_redirects=False, timeout=30, **options)


def test_the_table_is_what_the_server_has(guarded: Guarded, table: list[Route]) -> None:
    """Each route of the table is met by the matrix, and answers as a route does: an unknown address gives 404."""
    met = {(visit.route.method, visit.route.template) for visit in visits(table, f"{OWN}/shared")}
    assert met == {(route.method, route.template) for route in table}
    for visit in visits(table, "no/such/repository"):
        answer = requests.request(visit.method, guarded.server.url + visit.path, allow_redirects=False, timeout=30)
        assert "no such address" not in answer.text, visit


def test_only_these_routes_ask_nothing_of_a_visitor(table: list[Route]) -> None:
    """Whoever adds one has to say here why everybody may have it."""
    open_to_all = {
        "/auth/token",  # where one logs in
        "/auth/login",  # the same with a browser
        "/auth/callback",
        "/auth/keys",  # public keys
        "/healthz",
        "/readyz",
        "/metrics",  # names no repository and no account
        "/api/v1/openapi.json",  # the same for every registry
    }
    assert {route.template for route in table if route.right == "none"} == open_to_all


def test_rights_on_a_repository_are_for_routes_that_name_one(table: list[Route]) -> None:
    for route in table:
        assert ("{name}" in route.template) == (route.right in REPOSITORY_RIGHTS), route
        assert route.outlives_token <= ("{upload}" in route.template), route


def test_what_changes_something_needs_more_than_to_be_known(table: list[Route]) -> None:
    for route in table:
        if route.method != "GET" and route.template != "/auth/token":
            assert route.right in {"push", "delete", "admin", "session", "replicate", "promote"}, route


def test_where_the_session_of_a_browser_counts(table: list[Route]) -> None:
    """Whoever lets it in elsewhere has to say here why a page of others can do no harm with it."""
    counts = {route.template for route in table if route.takes_session}
    assert {name for name in counts if not name.startswith("/api/v1/")} == {
        "/auth/session",
        "/auth/session/password",
        "/auth/logout",
    }
    assert counts >= {route.template for route in table if route.right == "session"}
    assert not [route for route in table if route.takes_session and route.right in REPOSITORY_RIGHTS]


@pytest.mark.parametrize("right", ["", "read", "Pull", "pull,push", "anonymous"])
def test_a_route_without_a_right_is_none(right: str) -> None:
    assert right not in RIGHTS_OF_ROUTES
    with pytest.raises(ValueError, match="declares no right"):
        Route("GET", "/v2/{name}/new", right, cast("Any", None), "new")
