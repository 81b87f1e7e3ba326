"""What an administrator does with accounts, and what two of them do at once."""

from __future__ import annotations

import asyncio

import pytest

from registry.domain.access import ROBOT, USER
from registry.errors import AccessChanged, AccessExists, AccessInvalid, AccessRefused, AccessUnknown
from tests.unit.auth.nodes import Node

PASSWORD = "correct horse"


@pytest.fixture
async def node() -> Node:
    node = Node()
    await node.accounts.add_user("alice", PASSWORD, is_admin=True)
    await node.accounts.add_user("bob", PASSWORD, is_admin=False)
    return node


async def test_an_account_that_is_there_is_not_made_again(node: Node) -> None:
    with pytest.raises(AccessExists):
        await node.accounts.add_user("bob", "another password", is_admin=True)
    with pytest.raises(AccessExists):
        await node.accounts.create_robot("bob", [], None)
    assert (await node.accounts.account("bob")).kind == USER


async def test_a_robot_is_made_whole_or_not_at_all(node: Node) -> None:
    for grants in ([("team/**", "pull"), ("***", "pull")], [("team/**", "write")]):
        with pytest.raises(AccessInvalid):
            await node.accounts.create_robot("ci", grants, None)
    with pytest.raises(AccessUnknown):
        await node.accounts.account("ci")
    assert await node.accounts.grants() == []


async def test_a_user_is_no_robot(node: Node) -> None:
    with pytest.raises(AccessUnknown):
        await node.accounts.renew_secret("bob", kind=ROBOT)
    with pytest.raises(AccessUnknown):
        await node.accounts.delete("bob", ROBOT)


async def test_a_deleted_account_leaves_nothing(node: Node) -> None:
    await node.accounts.grant("bob", "team/**", "pull")
    await node.accounts.set_member("devs", "bob", is_member=True)
    await node.accounts.set_member("ops", "alice", is_member=True)
    await node.accounts.set_member("ops", "bob", is_member=True)
    await node.accounts.delete("bob")
    assert await node.accounts.grants() == []
    assert [(group.name, group.members) for group in await node.accounts.groups()] == [("ops", ("alice",))]
    with pytest.raises(AccessUnknown):
        await node.accounts.delete("bob")


async def test_the_last_administrator_stays_with_everything(node: Node) -> None:
    await node.accounts.grant("alice", "team/**", "pull")
    with pytest.raises(AccessRefused):
        await node.accounts.delete("alice")
    assert not (await node.accounts.account("alice")).is_disabled
    assert len(await node.accounts.grants()) == 1


async def test_a_new_password_does_not_undo_what_happens_while_it_is_hashed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(password: str) -> str:
        await node.accounts.change("bob", is_disabled=True)
        return f"hash of {password}"

    monkeypatch.setattr(node.passwords, "hash", slow)
    await node.accounts.set_password("bob", "another password")
    bob = await node.accounts.account("bob")
    assert (bob.is_disabled, bob.secret) == (True, "hash of another password")


async def test_members_who_come_at_once_are_all_in(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    table = node.access.table

    async def slow(*, looks_once: bool = False) -> object:
        found = await table(looks_once=looks_once)
        await asyncio.sleep(0)  # the others read the same
        return found

    monkeypatch.setattr(node.access, "table", slow)
    names = ["alice", "bob", "carol"]
    await asyncio.gather(*(node.accounts.set_member("devs", name, is_member=True) for name in names))
    assert sorted((await node.accounts.groups())[0].members) == names


async def test_who_loses_each_race_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [await node.access.table()] * 20
    await node.accounts.change("bob", is_disabled=True)

    async def stale(*, looks_once: bool = False) -> object:
        return tables.pop()

    monkeypatch.setattr(node.access, "table", stale)
    with pytest.raises(AccessChanged):
        await node.accounts.change("bob", is_admin=True)


async def test_an_expired_robot_needs_a_new_time(node: Node) -> None:
    await node.accounts.create_robot("ci", [], 60.0)
    node.clock.advance(60)
    with pytest.raises(AccessInvalid):
        await node.accounts.renew_secret("ci")
    account, _ = await node.accounts.renew_secret("ci", 3600.0)
    assert account.expires == node.clock() + 3600.0


async def test_groups_that_are_none(node: Node) -> None:
    with pytest.raises(AccessUnknown):
        await node.accounts.set_member("devs", "bob", is_member=False)
    for name in ("@", "Devs", "@@devs", "anonymous"):
        with pytest.raises(AccessInvalid):
            await node.accounts.set_member(name, "bob", is_member=True)
