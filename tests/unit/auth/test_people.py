"""People who come back from an issuer: how many at once, and whom nobody can become."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from registry.auth.identity import Identity
from registry.auth.oidc import OidcIssuer, new_login
from registry.auth.people import MOST_UNDER_WAY, NodePeople, Return
from registry.auth_settings import OidcSettings
from registry.errors import Denied, TooManyRequests
from tests.unit.auth.nodes import Node

ISSUER = "https://id.example"
BACK = Return(ISSUER, "code", "", "verifier", "nonce", "https://shoal.example/auth/callback")


class Issuer(OidcIssuer):
    """Says who came without asking anybody, once it may."""

    def __init__(self, name: str = "ann") -> None:
        super().__init__(OidcSettings(issuer=ISSUER, client_id="shoal"))
        self.name = name
        self.may_answer = asyncio.Event()

    async def check_named(self, named: str) -> None:
        await self.may_answer.wait()

    async def exchange(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> Identity:
        return Identity(self.name, ("devs",))


@pytest.fixture
async def node() -> Node:
    node = Node()
    await node.accounts.add_user("root", "a password of root", is_admin=True)
    await node.accounts.add_user("bob", "a password of bob", is_admin=False)
    await node.accounts.create_robot("ci", [], None)
    return node


async def came(node: Node, name: str) -> str:
    issuer = Issuer(name)
    issuer.may_answer.set()
    return (await NodePeople([issuer], node.access).who_came(BACK)).name


async def test_who_came(node: Node) -> None:
    assert await came(node, "ann") == "ann"


@pytest.mark.parametrize("name", ["root", "bob", "ci"])
async def test_nobody_becomes_an_account(node: Node, name: str) -> None:
    with pytest.raises(Denied, match="is an account") as refused:
        await came(node, name)
    assert refused.value.detail == {"account": name}
    await node.accounts.change(name, is_disabled=name != "root")
    with pytest.raises(Denied, match="is an account"):
        await came(node, name)


@pytest.mark.parametrize("name", ["anonymous", "operator", "token", "unknown", "Ann", "a b", "ann@example.org", "ä"])
async def test_names_that_nobody_can_have(node: Node, name: str) -> None:
    with pytest.raises(Denied, match="cannot be a name"):
        await came(node, name)


async def test_an_issuer_that_is_not_for_people(node: Node) -> None:
    jobs = OidcIssuer(OidcSettings(issuer=ISSUER, audience="shoal"))
    with pytest.raises(Denied, match="by that issuer"):
        await NodePeople([jobs], node.access).way_to(ISSUER, new_login(), "https://shoal.example")


async def test_those_who_wait_for_an_issuer_have_a_bound(node: Node) -> None:
    issuer = Issuer()
    people = NodePeople([issuer], node.access)
    waiting = [asyncio.create_task(people.who_came(BACK)) for _ in range(MOST_UNDER_WAY)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await asyncio.wait_for(people.who_came(BACK), 5)
    with pytest.raises(TooManyRequests):
        await people.way_to(ISSUER, new_login(), "https://shoal.example")
    issuer.may_answer.set()
    assert {found.name for found in await asyncio.gather(*waiting)} == {"ann"}
    assert (await people.who_came(BACK)).name == "ann"


async def test_an_issuer_that_is_silent_holds_up_no_other(node: Node) -> None:
    silent, other = Issuer(), Issuer("bea")
    other.may_answer.set()
    other_issuer = "https://other.example"
    other._settings = OidcSettings(issuer=other_issuer, client_id="shoal")
    people = NodePeople([silent, other], node.access)
    waiting = [asyncio.create_task(people.who_came(BACK)) for _ in range(MOST_UNDER_WAY)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await people.who_came(BACK)
    assert (await people.who_came(replace(BACK, issuer=other_issuer))).name == "bea"
    silent.may_answer.set()
    await asyncio.gather(*waiting)
    assert (await people.who_came(BACK)).name == "ann"
