"""A registry without accounts serves this machine alone, unless somebody says otherwise."""

from __future__ import annotations

import pytest

from registry.config import load
from registry.domain.access import AccessTable, Account
from registry.errors import StartupError
from registry.processes.greeting import refuse_open_door

EVERYWHERE = {"server.listen": "0.0.0.0:5000", "data": "/srv/shoal"}


def test_an_open_door_is_refused_and_the_message_says_what_to_do() -> None:
    with pytest.raises(StartupError) as refused:
        refuse_open_door(load(None, EVERYWHERE), AccessTable())
    for part in ("0.0.0.0:5000", "shoal user add NAME --admin --data /srv/shoal", "--allow-anonymous"):
        assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_of_several_addresses_the_one_is_named_that_others_can_reach() -> None:
    settings = load(None, {"server.listen": ["127.0.0.1:5000", "10.0.0.1:5000"]})
    with pytest.raises(StartupError, match=r"10\.0\.0\.1:5000 can be reached"):
        refuse_open_door(settings, AccessTable())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"server.public_url": "https://registry.example"}, "public_url: clients come by https://registry.example"),
        ({"server.trusted_proxies": ["127.0.0.1/32"]}, "trusted_proxies: clients come by a proxy"),
    ],
)
def test_a_proxy_on_this_machine_lets_others_in(settings: dict[str, object], told: str) -> None:
    with pytest.raises(StartupError, match=told):
        refuse_open_door(load(None, settings), AccessTable())
    refuse_open_door(load(None, {**settings, "server.allow_anonymous": True}), AccessTable())


def test_what_is_no_open_door() -> None:
    with_accounts = AccessTable()
    with_accounts.put(Account("alice"))
    refuse_open_door(load(None, EVERYWHERE), with_accounts)
    refuse_open_door(load(None, {**EVERYWHERE, "server.allow_anonymous": True}), AccessTable())
    refuse_open_door(load(), AccessTable())
    refuse_open_door(load(None, {**EVERYWHERE, "auth.htpasswd": "/srv/htpasswd"}), AccessTable())
