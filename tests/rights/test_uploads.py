"""Uploads and time: one goes on with its opener's token whose time is over, and never with one that was revoked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest

from tests.harness.accounts import signing_key, with_accounts
from tests.harness.client import RegistryClient
from tests.harness.content import Blob, digest_of, random_bytes, small_image
from tests.harness.hooked import Hooks, hooks
from tests.harness.server import ShoalServer
from tests.rights.conftest import Town
from tests.rights.visitors import Keys

SCOPES = "pull,push"


def bearing(town: Town, name: str, repository: str, *, seconds: float) -> RegistryClient:
    """A client with a token of the account that is good for so many seconds from now; fewer than 0: no more."""
    now = time.time()
    return town.bearing(town.keys.sign(town.keys.claims(name, repository, SCOPES, exp=now + seconds)))


def test_an_expired_token_finishes_what_its_owner_began(town: Town) -> None:
    name = town.newcomer("slow")
    whole = Blob(random_bytes(300_000, 7301))
    with (
        bearing(town, name, "shared/slow", seconds=60) as fresh,
        bearing(town, name, "shared/slow", seconds=-60) as old,
    ):
        location = fresh.start_upload("shared/slow")
        location = old.patch(location, whole.content[:100_000])
        old.request("GET", location, want=204)
        location = old.patch(location, iter([whole.content[100_000:200_000]]))
        old.finish_upload(location, whole.digest, whole.content[200_000:])

        assert fresh.blob("shared/slow", whole.digest) == whole.content


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={digest_of(b'')}"),
        ("GET", f"blobs/{digest_of(b'')}"),
        ("HEAD", "manifests/1"),
        ("PUT", "manifests/1"),
        ("DELETE", "manifests/1"),
        ("GET", "tags/list"),
    ],
)
def test_an_expired_token_begins_nothing(town: Town, method: str, path: str) -> None:
    with bearing(town, "ann", "shared/slow", seconds=-1) as old:
        answer = old.request(method, f"/v2/shared/slow/{path}", want=401)
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_an_expired_token_is_for_no_upload_of_others(town: Town) -> None:
    with town.client("ann") as ann, bearing(town, "bob", "shared/slow", seconds=-1) as old:
        location = ann.start_upload("shared/slow")
        for method in ("GET", "PATCH", "DELETE"):
            old.request(method, location, want=404)


def test_an_expired_token_is_for_its_own_scope(town: Town) -> None:
    with town.client("ann") as ann, bearing(town, "ann", "shared/elsewhere", seconds=-1) as old:
        old.request("PATCH", ann.start_upload("shared/slow"), data=b"x", want=401)


def disable(hooks: Hooks, name: str) -> None:
    hooks.accounts("change", name, is_disabled=True)


def disable_and_enable(hooks: Hooks, name: str) -> None:
    disable(hooks, name)
    hooks.accounts("change", name, is_disabled=False)


def change_the_password(hooks: Hooks, name: str) -> None:
    hooks.accounts("set_password", name, "another password")


def delete(hooks: Hooks, name: str) -> None:
    hooks.accounts("delete", name)


def delete_and_make_anew(hooks: Hooks, name: str) -> None:
    delete(hooks, name)
    hooks.accounts("add_user", name, "another password", is_admin=False)
    hooks.accounts("grant", name, "shared/**", "pull,push")


REVOCATIONS: list[Callable[[Hooks, str], None]] = [
    disable,
    disable_and_enable,
    change_the_password,
    delete,
    delete_and_make_anew,
]


@pytest.mark.parametrize("revoke", REVOCATIONS)
def test_an_upload_does_not_go_on_with_a_revoked_token(town: Town, revoke: Callable[[Hooks, str], None]) -> None:
    name = town.newcomer(f"revoked-{REVOCATIONS.index(revoke)}")
    issued = town.token(name, "repository:shared/revoked:pull,push")
    claims = jwt.decode(issued, options={"verify_signature": False})
    with (
        town.bearing(issued) as client,
        town.bearing(town.keys.sign(claims | {"exp": time.time() - 1})) as expired,
        town.client(name) as by_password,
    ):
        client.push_image("shared/revoked", small_image(7302), "1")
        location = by_password.patch(client.start_upload("shared/revoked"), b"begun")

        revoke(town.hooks, name)

        for bearer in (client, expired):
            for method in ("GET", "PATCH", "PUT", "DELETE"):
                params = {"digest": digest_of(b"begun")} if method == "PUT" else None
                answer = bearer.request(method, location, params=params, want=401)
                assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
            bearer.request("GET", "/v2/", want=401)
            bearer.request("GET", "/v2/shared/revoked/manifests/1", want=401)
        if revoke is not disable_and_enable:
            by_password.request("PATCH", location, data=b"more", want=401)
        else:
            by_password.patch(location, b"more")


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Town]:
    """A server whose tokens are good for a second."""
    data = tmp_path / "brief"
    with_accounts(data, ["ann"], [("ann", "ann/**", "pull,push")])
    with ShoalServer(data, prefix=hooks(token_lifetime=1.0)) as server:
        yield Town(server, Hooks(server), Keys(*signing_key(data), {}))


def test_a_long_upload_outlives_its_token(brief: Town) -> None:
    """In chunks, and in one body that arrives slowly: but what comes after it needs a token of its own."""
    parts = [random_bytes(50_000, seed) for seed in range(4)]
    whole = Blob(b"".join(parts))

    def slowly() -> Iterator[bytes]:
        for part in parts:
            yield part
            time.sleep(0.5)

    with brief.bearing(brief.token("ann", "repository:ann/long:pull,push")) as client:
        location = client.start_upload("ann/long")
        location = client.patch(location, slowly())
        client.finish_upload(location, whole.digest)
        client.request("POST", "/v2/ann/long/blobs/uploads/", want=401)
        client.request("GET", f"/v2/ann/long/blobs/{whole.digest}", want=401)
    with brief.bearing(brief.token("ann", "repository:ann/long:pull,push")) as anew:
        assert anew.has_blob("ann/long", whole.digest)
