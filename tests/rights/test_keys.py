"""Keys that change while clients push and pull."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
import requests

from tests.harness.accounts import with_accounts
from tests.harness.content import small_image
from tests.harness.hooked import Hooks, hooks
from tests.harness.postgres import PostgresServer
from tests.harness.server import Settings, ShoalServer
from tests.rights.conftest import Town
from tests.rights.visitors import Keys

PUSHERS, ROTATIONS = 4, 5


def key_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def push_all_the_time(towns: list[Town], pusher: int) -> int:
    """Pushes images until every key has signed; each with a token of one node, shown to another one."""
    seen: set[str] = set()
    for number in range(200):
        repository = f"ann/rotating-{pusher}"
        token = towns[number % len(towns)].token("ann", f"repository:{repository}:pull,push")
        with towns[(number + 1) % len(towns)].bearing(token) as client:
            item = small_image(7500 + pusher * 1000 + number)
            client.push_image(repository, item, str(number))
            client.check_image(repository, item, str(number))
        seen.add(key_of(token))
        if len(seen) > ROTATIONS:
            break
        if pusher == 0:
            towns[0].hooks.rotate()
    return len(seen)


def test_pushes_while_keys_change(town: Town) -> None:
    """Nothing fails, and a token of before is good for as long as it says."""
    old = town.token("ann", "repository:ann/rotating-0:pull,push")
    with ThreadPoolExecutor(PUSHERS) as threads:
        seen = list(threads.map(lambda pusher: push_all_the_time([town], pusher), range(PUSHERS)))

    assert seen[0] > ROTATIONS
    with town.bearing(old) as client:
        client.tags("ann/rotating-0")
    known = requests.get(f"{town.server.url}/auth/keys", timeout=30).json()["keys"]
    assert len(known) > ROTATIONS
    assert {key["alg"] for key in known} == {"EdDSA"}
    assert key_of(old) in {key["kid"] for key in known}
    assert all(set(key) == {"kty", "crv", "x", "kid", "alg", "use"} for key in known), "more than a public half"


@pytest.fixture
def towns(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[list[Town]]:
    """Two nodes on one database; the clock of the second is half a minute behind. Blobs lie with both in one place."""
    url = postgres_server.new_database()
    settings: Settings = {"database": {"url": url}}
    nodes = [
        ShoalServer(tmp_path / name, settings=settings, prefix=hooks(clock=clock))
        for name, clock in (("a", 0.0), ("b", -30.0))
    ]
    with_accounts(tmp_path / "a", ["ann"], [("ann", "ann/**", "pull,push")], url=url)
    with nodes[0], nodes[1]:
        yield [Town(node, Hooks(node), _NO_KEYS) for node in nodes]


_NO_KEYS: Keys = Keys("", None, {})  # type: ignore[arg-type] # nobody signs with them here


@pytest.mark.require("postgres")
def test_accounts_of_two_nodes(towns: list[Town]) -> None:
    """Keys, grants and accounts act at once on both, whatever their clocks say."""
    one, two = towns
    for giver, taker in ((one, two), (two, one)):
        one.hooks.rotate()
        token = giver.token("ann", "repository:ann/app:pull,push")
        with taker.bearing(token) as client:
            client.start_upload("ann/app")
            two.hooks.accounts("grant", "ann", "ann/**", "pull")
            client.request("POST", "/v2/ann/app/blobs/uploads/", want=401)
            two.hooks.accounts("grant", "ann", "ann/**", "pull,push")
            client.start_upload("ann/app")
            one.hooks.accounts("set_password", "ann", "another password")
            client.request("GET", "/v2/", want=401)
            one.hooks.accounts("set_password", "ann", "the password of ann")
            client.request("GET", "/v2/", want=401)
