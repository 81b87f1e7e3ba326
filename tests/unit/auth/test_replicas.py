"""Replication tokens: whose they are, and what is kept of them."""

from __future__ import annotations

import hashlib

import pytest

from registry.auth.replicas import PREFIX, ReplicaService, ReplicaTokens, is_replication_token
from registry.domain.access import ACCOUNT, AccessTable, Replica, decode, encode
from registry.domain.changes import SetRecord
from registry.errors import AccessExists, AccessInvalid, AccessUnknown, TooManyRequests, Unauthorized
from tests.unit.auth.nodes import Node

HERE = "10.0.0.1"


class Slaves:
    """The service and the check of one node."""

    def __init__(self) -> None:
        self.node = Node()
        self.service = ReplicaService(self.node.access, self.node.metadata, self.node.clock)
        self.tokens = ReplicaTokens(self.node.clock)

    async def check(self, token: str, address: str = HERE) -> Replica:
        return self.tokens.check(token, await self.node.access.table(), address)


@pytest.fixture
def slaves() -> Slaves:
    return Slaves()


@pytest.mark.parametrize("name", ["eu", "eu-west-1", "a.b_c-d"])
async def test_a_token_is_of_its_slave(slaves: Slaves, name: str) -> None:
    replica, token = await slaves.service.create(name)
    other, of_other = await slaves.service.create("other")
    assert is_replication_token(token)
    assert await slaves.check(token) == replica
    assert await slaves.check(of_other) == other
    assert await slaves.service.replicas() == sorted([replica, other], key=lambda found: found.name)


async def test_tokens_are_256_random_bits(slaves: Slaves) -> None:
    secrets = {(await slaves.service.create(f"s{number}"))[1].rpartition("-")[2] for number in range(5)}
    assert len(secrets) == 5
    assert all(len(bytes.fromhex(secret)) == 32 for secret in secrets)


async def test_only_a_hash_is_kept_and_travels(slaves: Slaves) -> None:
    """A node that has the record and never saw the token lets its slave in; what is printed has no hash."""
    replica, token = await slaves.service.create("eu")
    assert replica.hash == hashlib.sha256(token.encode()).hexdigest()
    assert replica.hash not in repr(replica)
    elsewhere = AccessTable()
    for kind, _, value in await slaves.node.metadata.records():
        elsewhere.put(decode(kind, value))
    assert ReplicaTokens(slaves.node.clock).check(token, elsewhere, HERE) == replica
    secret = token.rpartition("-")[2]
    assert secret not in str(await slaves.node.metadata.records())
    for event in await slaves.node.metadata.events(0, 100):
        assert secret.encode() not in event.payload


async def test_what_a_token_is_good_for(slaves: Slaves) -> None:
    replica, token = await slaves.service.create("eu", ["team/**", "base", "team/**"])
    assert replica.repositories == ("team/**", "base")
    assert await slaves.check(token) == replica
    promoter, _ = await slaves.service.create("ops", may_promote=True)
    assert (promoter.repositories, promoter.may_promote, replica.may_promote) == ((), True, False)
    for patterns, may_promote in ((["team/**"], True), (["Team"], False), ([""], False)):
        with pytest.raises(AccessInvalid):
            await slaves.service.create("asia", patterns, may_promote=may_promote)
    assert "asia" not in [found.name for found in await slaves.service.replicas()]


def test_a_record_of_another_version() -> None:
    """One of before is of everything, and its hash is unknown; what a newer one says beside is passed over."""
    assert decode("replica", '{"created":1.0,"id":"1f","name":"eu"}') == Replica("eu", "1f", 1.0)
    assert decode("replica", '{"created":1.0,"id":"1f","name":"eu","zone":"x"}') == Replica("eu", "1f", 1.0)


async def test_what_is_no_token_of_anybody(slaves: Slaves) -> None:
    _, token = await slaves.service.create("eu")
    secret = token.rpartition("-")[2]
    wrong = (PREFIX, f"{PREFIX}eu-", f"{PREFIX}eu", token[:-1], f"{token}0", f"{PREFIX}-{secret}", token.upper())
    for number, text in enumerate((*wrong, f"{PREFIX}other-{secret}", f"{PREFIX}eu-ä", PREFIX + "x" * 100_000)):
        with pytest.raises(Unauthorized):
            await slaves.check(text, f"10.0.1.{number}")


async def test_a_slave_whose_hash_is_kept_elsewhere_is_not_let_in(slaves: Slaves) -> None:
    """A slave was told of it by an older master, without the hash; "" fits nothing."""
    await slaves.node.metadata.submit(SetRecord("replica", "eu", encode(Replica("eu", "1f", 1.0))))
    for text in (f"{PREFIX}eu-", PREFIX, f"{PREFIX}eu-{'0' * 64}"):
        with pytest.raises(Unauthorized):
            await slaves.check(text)


async def test_a_token_that_was_taken_back(slaves: Slaves) -> None:
    _, token = await slaves.service.create("eu")
    await slaves.check(token)
    await slaves.service.delete("eu")
    with pytest.raises(Unauthorized):
        await slaves.check(token)
    _, new = await slaves.service.create("eu")
    assert (await slaves.check(new)).name == "eu"
    with pytest.raises(Unauthorized):
        await slaves.check(token)
    with pytest.raises(AccessUnknown):
        await slaves.service.delete("asia")


async def test_names(slaves: Slaves) -> None:
    await slaves.service.create("eu")
    with pytest.raises(AccessExists):
        await slaves.service.create("eu")
    for name in ("", "EU", "a b", "-eu", "e" * 65, "anonymous"):
        with pytest.raises(AccessInvalid):
            await slaves.service.create(name)
    assert not [record for record in await slaves.node.metadata.records() if record[0] == ACCOUNT]


async def test_who_guesses_waits_and_keeps_nobody_out(slaves: Slaves) -> None:
    replica, token = await slaves.service.create("eu")
    answers = []
    for _ in range(60):
        with pytest.raises((Unauthorized, TooManyRequests)) as refused:
            await slaves.check(f"{token[:-1]}x")
        answers.append(refused.type)
    assert answers[0] is Unauthorized
    assert answers[-1] is TooManyRequests
    assert await slaves.check(token) == replica
    with pytest.raises(Unauthorized):
        await slaves.check(f"{token[:-1]}x", "10.0.0.2")
