"""What a slave of some repositories may know, and what its cursor says."""

from __future__ import annotations

import base64

import pytest

from registry.domain.access import Account, Grant, Group, PublicKey, Replica, decode, encode, key_of, kind_of
from registry.domain.events import AUTH, CHAIN_START, EPOCH_BEGIN, JournalEvent, link, verify
from registry.domain.limits import Limit
from registry.errors import AccessInvalid, LogCutOff, LogForked, RequestInvalid
from replication.cursor import Cursors, Place
from replication.scope import MOST_ASKED, Scope, records_in

TEAM = Scope((("team/**",),))
RECORDS = [
    (kind_of(record), key_of(record), encode(record))
    for record in (
        Account("ann", secret="ANN"),
        Account("bob", secret="BOB"),
        Account("carol", secret="CAROL"),
        Account("root", secret="ROOT", is_admin=True),
        Group("devs", ("carol",)),
        Group("others", ("bob",)),
        Grant("ann", "*/app", ("pull",)),
        Grant("bob", "other/**", ("pull",)),
        Grant("@devs", "team/app", ("pull",)),
        Grant("@ldap", "team/app", ("pull",)),
        Grant("@others", "other/app", ("pull",)),
        Grant("anonymous", "team/public", ("pull",)),
        Limit("team/**", tags=3),
        Limit("other/**", tags=3),
        PublicKey("k1", "PEM", 1.0),
        Replica("eu", "1f", 1.0, "ab" * 32),
    )
]


def test_the_records_that_its_repositories_need() -> None:
    found = [(kind, key) for kind, key, _ in records_in(TEAM, RECORDS)]
    assert found == [
        ("account", "ann"),
        ("account", "carol"),
        ("account", "unknown"),
        ("grant", "@devs team/app"),
        ("grant", "@ldap team/app"),
        ("grant", "ann */app"),
        ("grant", "anonymous team/public"),
        ("group", "devs"),
        ("key", "k1"),
        ("limit", "team/**"),
    ]


def test_it_is_closed_where_its_master_is_and_open_where_that_is() -> None:
    root = [record for record in RECORDS if record[1] == "root"]
    ((kind, _, value),) = records_in(TEAM, root)
    closed = decode(kind, value)
    assert isinstance(closed, Account)
    assert not closed.is_usable(0.0)
    assert not closed.secret
    assert records_in(TEAM, []) == []


def test_a_record_of_a_newer_master_says_nothing() -> None:
    assert records_in(TEAM, [("zone", "team/app", "{}")]) == []


def test_patterns_of_token_and_slave_hold_both() -> None:
    scope = Scope.of(["team/**", "base"], ["*/app"])
    assert scope is not None
    found = [scope.holds(name) for name in ("team/app", "team/web", "base", "other/app")]
    assert found == [True, False, False, False]
    assert [scope.may_hold(pattern) for pattern in ("**", "team/*", "base", "x/**")] == [True, True, False, False]
    assert Scope.of([], []) is None
    assert Scope.of(["b", "a"], []) == Scope.of(["a", "b", "a"], [])


def test_patterns_that_cannot_be_asked() -> None:
    with pytest.raises(AccessInvalid):
        Scope.of([], ["NO"])
    with pytest.raises(RequestInvalid):
        Scope.of([], ["a"] * (MOST_ASKED + 1))


def journal(*told: tuple[str, str]) -> list[JournalEvent]:
    """Events of these kinds and repositories."""
    found: list[JournalEvent] = []
    for serial, (kind, repository) in enumerate(told, 1):
        chain = found[-1].chain if found else CHAIN_START
        fields = (serial, 3, float(serial), kind, repository, b"{}", b"content")
        found.append(JournalEvent(*fields, link(chain, *fields)))
    return found


def test_its_log_has_serials_and_a_chain_of_its_own() -> None:
    master = journal(
        (EPOCH_BEGIN, ""), ("tag.set", "x"), ("tag.set", "team/a"), (f"{AUTH}grant", ""), ("tag.del", "team/b")
    )
    place, told = Place(), []
    for event in master:
        place, own = place.after(event, TEAM)
        told += [own] if own else []
    assert [(event.serial, event.repository) for event in told] == [(1, ""), (2, "team/a"), (3, "team/b")]
    chain = CHAIN_START
    for event in told:
        assert verify(chain, event)
        chain = event.chain
    assert place == Place(5, 3, master[-1].chain, 3, told[-1].chain)
    alone = journal((EPOCH_BEGIN, ""), ("tag.set", "team/a"), ("tag.del", "team/b"))
    others, hidden = (Place(), Place())
    for event in alone[:1]:
        others, _ = others.after(event, TEAM)
        hidden, _ = hidden.after(master[0], TEAM)
    assert others.own_chain == hidden.own_chain, "what others do is not in the chain"


def test_a_cursor_is_read_by_whoever_has_the_secret() -> None:
    place = Place(7, 2, b"c" * 32, 3, b"d" * 32)
    one, other = Cursors(b"secret"), Cursors(b"secret")
    assert other.open(one.seal(place, TEAM), TEAM) == place
    assert one.seal(place, TEAM) != one.seal(place, TEAM), "whether anything happened is not to be seen"
    assert len(one.seal(Place(), TEAM)) == len(one.seal(Place(2**63, 2**40), TEAM))


def test_a_cursor_that_was_made_elsewhere_or_for_others() -> None:
    cursor = Cursors(b"secret").seal(Place(7, 2), TEAM)
    with pytest.raises(LogForked):
        Cursors(b"another").open(cursor, TEAM)
    with pytest.raises(LogCutOff):
        Cursors(b"secret").open(cursor, Scope((("team/**",), ("*/app",))))
    raw = bytearray(base64.urlsafe_b64decode(cursor))
    for at in range(len(raw)):
        raw[at] ^= 1
        with pytest.raises(LogForked):
            Cursors(b"secret").open(base64.urlsafe_b64encode(raw).decode(), TEAM)
        raw[at] ^= 1
    for wrong in ("", "ä", cursor[:-4], cursor + "AAAA", "!" * len(cursor)):
        with pytest.raises(LogForked):
            Cursors(b"secret").open(wrong, TEAM)
