"""Accounts of two masters as processes: what one was told, every worker of the other knows at its next request."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator

import jwt
import pytest
import requests

from tests.harness.administration import Commands, as_account, may_log_in
from tests.harness.postgres import PostgresServer
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import Settings, ShoalServer

pytestmark = pytest.mark.require("postgres")

BOB = ("bob", "bobs own password")


@pytest.fixture(scope="module")
def masters(
    s3_server: S3Server, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ShoalServer]]:
    storage = {
        "kind": "s3",
        "endpoint": s3_server.endpoint,
        "bucket": s3_server.bucket(f"masters-{uuid.uuid4()}").bucket,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
    }
    settings: Settings = {"storage": storage, "database": {"url": postgres_server.new_database()}}
    data = tmp_path_factory.mktemp("masters")
    nodes = [ShoalServer(data / name, settings=settings, workers=workers) for name, workers in (("a", 1), ("b", 2))]
    with nodes[0], nodes[1]:
        Commands("--data", nodes[0].data).add_admin()
        Commands("--data", nodes[1].data)("user", "add", BOB[0], "--password-stdin", text=f"{BOB[1]}\n")
        yield nodes
        assert [node.complaints() for node in nodes] == [[], []]


def test_grants_count_at_once_everywhere(masters: list[ShoalServer]) -> None:
    admin, bob = as_account(), as_account(*BOB)
    for told, asked in itertools.islice(itertools.cycle((masters, masters[::-1])), 12):
        grant = {"subject": "bob", "pattern": "team/**", "rights": "pull"}
        assert admin.put(f"{told.url}/api/v1/grants", json=grant, timeout=60).status_code == 200
        address = f"{asked.url}/v2/team/app/manifests/v1"
        assert [bob.get(address, timeout=60).status_code for _ in range(3)] == [404] * 3
        query = {"subject": "bob", "pattern": "team/**"}
        assert admin.delete(f"{told.url}/api/v1/grants", params=query, timeout=60).status_code == 204
        assert [bob.get(address, timeout=60).status_code for _ in range(3)] == [403] * 3


def test_who_is_disabled_on_one_is_refused_by_the_other(masters: list[ShoalServer]) -> None:
    one, other = masters
    assert may_log_in(other.url, *BOB)
    token = as_account(*BOB).get(f"{other.url}/auth/token", params={"service": "shoal"}, timeout=60).json()["token"]
    shown = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{other.url}/v2/", headers=shown, timeout=60).status_code == 200
    Commands("--data", one.data)("user", "disable", "bob")
    assert not may_log_in(other.url, *BOB)
    assert {requests.get(f"{node.url}/v2/", headers=shown, timeout=60).status_code for node in masters} == {401}
    Commands("--data", other.data)("user", "enable", "bob")
    assert may_log_in(one.url, *BOB)
    assert requests.get(f"{one.url}/v2/", headers=shown, timeout=60).status_code == 401, "what was void stays void"


def test_each_takes_tokens_of_the_other_while_keys_are_rotated(masters: list[ShoalServer]) -> None:
    kids, tokens = set(), []
    for told, asked in itertools.islice(itertools.cycle((masters, masters[::-1])), 4):
        Commands("--data", told.data)("token", "keys", "rotate")
        answer = as_account().get(f"{asked.url}/auth/token", params={"service": "shoal"}, timeout=60)
        tokens.append(answer.json()["token"])
        kids.add(jwt.get_unverified_header(tokens[-1])["kid"])
    assert len(kids) == 4, "each rotation counted at once on the other node"
    for token, node in itertools.product(tokens, masters):
        shown = {"Authorization": f"Bearer {token}"}
        assert requests.get(f"{node.url}/v2/", headers=shown, timeout=60).status_code == 200
