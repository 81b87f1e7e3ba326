"""What a source outside says of somebody who has an account here."""

from __future__ import annotations

import pytest

from registry.auth.identity import Identity
from registry.auth.logins import NodeLogins
from registry.auth.passwords import Passwords
from registry.domain.access import AccessTable, Account
from registry.errors import Unauthorized


class Table:
    def __init__(self, *accounts: Account) -> None:
        self.now = AccessTable()
        for account in accounts:
            self.now.put(account)

    async def table(self, *, looks_once: bool = False) -> AccessTable:
        return self.now


class Directory:
    """A source for which upper and lower case are one, as for LDAP."""

    async def check(self, name: str, password: str) -> Identity | None:
        return Identity(name.lower()) if password == "the directory's" else None


def logins(*accounts: Account) -> tuple[NodeLogins, Table]:
    table = Table(*accounts)
    return NodeLogins(table, Passwords(), [Directory()], lambda: 1000.0), table


@pytest.mark.parametrize(
    "account",
    [
        Account("ann", secret="x"),
        Account("ann", secret="x", is_admin=True),
        Account("ann", secret="x", is_disabled=True),
        Account("ann", "robot", secret="x", is_disabled=True),
        Account("ann", "robot", secret="x", is_admin=True),
        Account("ann", "robot", secret="x", expires=999.0),
    ],
)
async def test_it_makes_nobody_one_of_our_people(account: Account) -> None:
    node, _ = logins(account)
    for name in ("ANN", "Ann", "ann"):
        with pytest.raises(Unauthorized):
            await node.login(name, "the directory's", "192.0.2.1")


async def test_it_can_give_a_job_its_robot() -> None:
    node, table = logins(Account("ann", "robot", secret="x"))
    assert (await node.login("ANN", "the directory's", "192.0.2.1")).name == "ann"
    table.now.put(Account("ann", "robot", secret="x", is_disabled=True))
    with pytest.raises(Unauthorized):
        await node.login("ANN", "the directory's", "192.0.2.1")


async def test_an_account_that_is_made_meanwhile_ends_what_was_remembered() -> None:
    node, table = logins()
    assert (await node.login("Ann", "the directory's", "192.0.2.1")).name == "ann"
    table.now.put(Account("ann", secret="x", is_admin=True))
    with pytest.raises(Unauthorized):
        await node.login("Ann", "the directory's", "192.0.2.1")
