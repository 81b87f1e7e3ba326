"""Sessions of browsers and the passwords that they get: whose they are, and when they count no longer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from registry.auth.identity import Identity
from registry.auth.logins import NodeLogins
from registry.auth.sessions import MOST_LENGTH, Sessions, visitor_of
from registry.auth.tokens import ACCESS, REFRESH, Tokens
from registry.auth.visitor import Visitor
from registry.domain.access import Principal
from registry.errors import Denied, TooManyRequests, Unauthorized
from tests.unit.auth.nodes import Node

HERE = "192.0.2.1"
ANN = Principal("ann", ("devs",))


class Asked:
    """A source outside that lets everybody in."""

    def __init__(self) -> None:
        self.passwords: list[str] = []

    async def check(self, name: str, password: str) -> Identity | None:
        self.passwords.append(password)
        return Identity(name)


class House:
    """A node whose issuer knows ann; an account bob, and a robot ci."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tokens = Tokens("shoal")
        self.sessions = Sessions(node.access, self.tokens, node.ring, node.clock, 3600.0, 7200.0)
        self.outside = Asked()
        # as in another process: what one has signed, the other has never seen
        self.logins = NodeLogins(node.access, node.passwords, [self.outside], node.clock, Tokens("shoal"))

    async def visitor(self, token: str, tokens: Tokens | None = None) -> Visitor | None:
        return visitor_of(token, tokens or Tokens("shoal"), await self.node.access.table(), self.node.clock())

    async def begin(self, principal: Principal = ANN) -> str:
        return (await self.sessions.begin(principal)).token

    async def password(self) -> str:
        visitor = await self.visitor(await self.begin())
        assert visitor is not None
        return (await self.sessions.password(visitor)).token

    async def refused(self, name: str, password: str) -> str:
        with pytest.raises(Unauthorized) as caught:
            await self.logins.login(name, password, HERE)
        assert self.outside.passwords == [], "what we have signed is shown to nobody outside"
        return caught.value.message


@pytest.fixture
async def house() -> House:
    node = Node()
    await node.rotation.rotate_if_due()
    await node.accounts.add_user("bob", "bobs password", is_admin=False)
    await node.accounts.create_robot("ci", [], None)
    return House(node)


async def test_a_session_says_who_and_until_when(house: House) -> None:
    visitor = await house.visitor(await house.begin())
    assert visitor is not None
    assert (visitor.principal.name, visitor.principal.groups, visitor.scopes) == ("ann", ("devs",), None)
    assert visitor.session_ends == house.node.clock() + 3600.0
    house.node.clock.advance(3599)
    token = await house.begin()
    house.node.clock.advance(3600)
    assert await house.visitor(token) is None


async def test_what_else_is_signed_is_no_session(house: House) -> None:
    signer, now = await house.node.ring.signer(await house.node.access.table()), house.node.clock()
    for use in (ACCESS, REFRESH, "login", ""):
        assert await house.visitor(house.tokens.issue(signer, ANN, {}, now, 300.0, use)) is None, use
    assert await house.visitor(await house.begin(), Tokens("elsewhere")) is None
    for text in ("", "x", "a.b.c", "x" * 20_000):
        assert await house.visitor(text) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda node: node.accounts.add_user("ann", "anns password", is_admin=False),
        lambda node: node.accounts.create_robot("ann", [], None),
    ],
)
async def test_an_account_of_that_name_ends_what_others_have(
    house: House, change: Callable[[Node], Awaitable[object]]
) -> None:
    token, password = await house.begin(), await house.password()
    await change(house.node)
    assert await house.visitor(token) is None
    await house.refused("ann", password)
    await house.node.accounts.change("ann", is_disabled=True)
    assert await house.visitor(token) is None
    house.node.clock.advance(60)
    assert await house.visitor(await house.begin()) is None, "nor does a later session count"


async def test_a_key_that_is_gone_ends_what_it_has_signed(house: House) -> None:
    token, password = await house.begin(), await house.password()
    (old,) = (await house.node.access.table()).keys
    await house.node.rotation.rotate()
    assert await house.visitor(token) is not None
    await house.node.rotation.rotate(revoke=True)
    assert old not in (await house.node.access.table()).keys
    assert await house.visitor(token) is None
    house.outside.passwords.clear()
    await house.logins.login("ann", password, HERE)
    assert house.outside.passwords == [password], "a word like any other by now"


async def test_groups_that_do_not_fit(house: House) -> None:
    many = tuple(f"a-group-with-a-long-name-{number:04}" for number in range(400))
    await house.node.accounts.grant(f"@{many[7]}", "team/**", "pull")
    visitor = await house.visitor(await house.begin(Principal("ann", many)))
    assert visitor is not None
    assert visitor.principal.groups == (many[7],)
    for group in many:
        await house.node.accounts.grant(f"@{group}", "team/**", "pull")
    with pytest.raises(Denied, match="more groups"):
        await house.begin(Principal("ann", many))
    assert len(await house.begin(Principal("ann", many[:60]))) <= MOST_LENGTH


async def test_a_password_is_its_owners_without_any_hashing(house: House) -> None:
    password = await house.password()
    for _ in range(3):
        found = await house.logins.login("ann", password, HERE)
        assert (found.name, found.groups, found.since) == ("ann", ("devs",), None)
    assert (house.node.passwords.compared, house.outside.passwords) == (0, [])


async def test_a_password_is_good_for_no_other_name(house: House) -> None:
    password = await house.password()
    await house.refused("anna", password)
    await house.refused("Ann", password)
    await house.refused("bob", password)
    await house.refused("ci", password)


async def test_a_password_ends_when_it_says(house: House) -> None:
    password = await house.password()
    house.node.clock.advance(7199)
    await house.logins.login("ann", password, HERE)
    house.node.clock.advance(1)
    assert "/auth/session" in await house.refused("ann", password)


async def test_a_session_or_a_token_is_no_password(house: House) -> None:
    signer, now = await house.node.ring.signer(await house.node.access.table()), house.node.clock()
    await house.refused("ann", await house.begin())
    await house.refused("ann", house.tokens.issue(signer, ANN, {}, now, 300.0))


async def test_whoever_tries_passwords_of_others_is_slowed_down_and_the_owner_is_not(house: House) -> None:
    house.node.clock.advance(1)
    password = await house.password()
    for _ in range(6):
        await house.refused("carl", password)
    with pytest.raises(TooManyRequests):
        await house.logins.login("carl", "a word", HERE)
    assert (await house.logins.login("ann", password, HERE)).name == "ann"


async def test_a_token_as_a_password_is_as_wrong_for_an_account_as_for_nobody(house: House) -> None:
    """Everybody can get one: it must neither tell which names are accounts, nor get round the slowing down."""
    anonymous = house.tokens.issue(
        await house.node.ring.signer(await house.node.access.table()), Principal(), {}, house.node.clock(), 300.0
    )
    for name in ("bob", "nobody"):
        tried = []
        for _ in range(8):
            try:
                await house.logins.login(name, anonymous, HERE)
            except (Unauthorized, TooManyRequests) as refusal:
                tried.append(type(refusal))
        assert tried == [Unauthorized] * 6 + [TooManyRequests] * 2, name


async def test_passwords_of_others_do_not_flush_what_is_counted(house: House) -> None:
    password, refused = await house.password(), 0
    for number in range(200):
        with pytest.raises((Unauthorized, TooManyRequests)) as caught:
            await house.logins.login(f"name-{number}", password, HERE)
        refused += caught.type is TooManyRequests
    assert refused >= 140, "an address has fifty tries"
