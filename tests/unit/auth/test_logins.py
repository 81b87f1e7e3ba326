"""Logging in: remembered, counted, and done once for a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from registry.auth.identity import Identity
from registry.auth.logins import NodeLogins
from registry.domain.access import Principal
from registry.errors import TooManyRequests, Unauthorized
from tests.unit.auth.nodes import Node

HERE, PASSWORD = "192.0.2.1", "correct horse"


class Directory:
    """A source outside that knows one password."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.asked = 0

    async def check(self, name: str, password: str) -> Identity | None:
        self.asked += 1
        return self._identity if (name, password) == ("dora", "doras password") else None


@pytest.fixture
async def node() -> Node:
    node = Node()
    await node.accounts.add_user("alice", PASSWORD, is_admin=False)
    return node


def logins_of(node: Node, *sources: Directory) -> NodeLogins:
    return NodeLogins(node.access, node.passwords, sources, node.clock)


async def test_a_login_is_remembered(node: Node) -> None:
    logins = logins_of(node)
    for _ in range(5):
        assert (await logins.login("alice", PASSWORD, HERE)).name == "alice"
    assert node.passwords.compared == 1
    node.clock.advance(301)
    await logins.login("alice", PASSWORD, HERE)
    assert node.passwords.compared == 2


async def test_many_at_once_are_one(node: Node) -> None:
    logins = logins_of(node)
    await asyncio.gather(*(logins.login("alice", PASSWORD, HERE) for _ in range(50)))
    assert node.passwords.compared == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda node: node.accounts.set_password("alice", "another password"),
        lambda node: node.accounts.change("alice", is_disabled=True),
        lambda node: node.accounts.delete("alice"),
    ],
)
async def test_a_remembered_login_dies_with_what_it_was_for(
    node: Node, change: Callable[[Node], asyncio.Future[None]]
) -> None:
    logins = logins_of(node)
    await logins.login("alice", PASSWORD, HERE)
    await change(node)
    with pytest.raises(Unauthorized):
        await logins.login("alice", PASSWORD, HERE)


async def test_a_robot_that_has_expired(node: Node) -> None:
    _, secret = await node.accounts.create_robot("ci", [], 60.0)
    logins = logins_of(node)
    await logins.login("ci", secret, HERE)
    node.clock.advance(60)
    with pytest.raises(Unauthorized):
        await logins.login("ci", secret, HERE)


async def test_whoever_fails_too_often_is_told_before_any_hashing(node: Node) -> None:
    logins = logins_of(node)
    for number in range(6):
        with pytest.raises(Unauthorized):
            await logins.login("alice", f"guess {number}", HERE)
    compared = node.passwords.compared
    with pytest.raises(TooManyRequests) as refused:
        await logins.login("alice", "guess 7", HERE)
    assert (node.passwords.compared, refused.value.after) == (compared, 1.0)
    assert (await logins.login("alice", PASSWORD, "192.0.2.2")).name == "alice", "the owner is elsewhere"
    node.clock.advance(1)
    assert (await logins.login("alice", PASSWORD, HERE)).name == "alice"


async def test_the_owner_who_is_known_does_not_wait_for_the_guesses_of_others_at_the_same_address(node: Node) -> None:
    logins = logins_of(node)
    await logins.login("alice", PASSWORD, HERE)
    for number in range(9):
        with pytest.raises((Unauthorized, TooManyRequests)):
            await logins.login("alice", f"guess {number}", HERE)
    assert (await logins.login("alice", PASSWORD, HERE)).name == "alice"


async def test_nobody_and_a_wrong_password_answer_alike(node: Node) -> None:
    logins, told = logins_of(node), set()
    for name in ("alice", "nobody", "Alice", "alice\0", ""):
        with pytest.raises(Unauthorized) as refused:
            await logins.login(name, "wrong password", HERE)
        told.add(refused.value.message)
    assert len(told) == 1
    assert node.passwords.compared == 5, "each takes as long"


async def test_sources_outside_are_asked_for_names_that_have_no_account(node: Node) -> None:
    directory = Directory(Identity("dora", ("ops",)))
    logins = logins_of(node, directory)
    assert await logins.login("dora", "doras password", HERE) == Principal("dora", ("ops",))
    with pytest.raises(Unauthorized):
        await logins.login("alice", "doras password", HERE)
    assert directory.asked == 1, "what an account's password is, the account says alone"
    bad = logins_of(node, Directory(Identity("Dora Meyer")))
    with pytest.raises(Unauthorized):  # no grant can be for such a name
        await bad.login("dora", "doras password", HERE)


async def test_a_password_beyond_all_measure_costs_no_hash(node: Node) -> None:
    with pytest.raises(Unauthorized):
        await logins_of(node).login("alice", "x" * 100_000, HERE)
    assert node.passwords.compared == 0


async def test_one_machine_does_not_guess_from_all_its_addresses(node: Node) -> None:
    logins = logins_of(node)
    for number in range(6):
        with pytest.raises(Unauthorized):
            await logins.login("alice", "wrong", f"2001:db8::{number}")
    with pytest.raises(TooManyRequests):
        await logins.login("alice", "wrong", "2001:db8::6")
    assert (await logins.login("alice", PASSWORD, "2001:db8:1::1")).name == "alice"
