"""Who may do what: names, patterns, and the decision."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.access import (
    ACCOUNT,
    GRANT,
    GROUP,
    KEY,
    NOBODY,
    RIGHTS,
    AccessTable,
    Account,
    Grant,
    Group,
    Principal,
    PublicKey,
    Record,
    decode,
    encode,
    key_of,
    kind_of,
    parse_account,
    parse_rights,
    parse_subject,
    with_member,
)
from registry.domain.patterns import fits, parse_pattern
from registry.errors import AccessInvalid

ALICE = Principal("alice")
PARTS = st.text("ab", min_size=1, max_size=3)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize("name", ["a", "0", "alice", "a.b_c-d", "a" * 64, "ci-2"])
def test_names_of_accounts(name: str) -> None:
    assert parse_account(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 65,
        "Alice",  # one that differs in case would look like another
        "ALICE",
        "\u0430lice",  # the first letter is Cyrillic
        "alice\u200b",
        "ali\u0301ce",
        "\uff41lice",  # the first letter is full width
        "\u017fam",  # its upper case is that of sam
        "alice\n",
        "\nalice",
        "alice ",
        "alice\0",
        "-alice",
        "alice-",
        ".alice",
        "a/b",
        "a:b",
        "a@b",
        "@devs",
        "a b",
        "\u00b2",
        "\u0661",
        "anonymous",
        "operator",
        "unknown",
    ],
)
def test_no_names_of_accounts(name: str) -> None:
    with pytest.raises(AccessInvalid):
        parse_account(name)


@given(st.text(max_size=70))
def test_a_name_that_is_taken_is_one_that_nothing_else_looks_like(text: str) -> None:
    try:
        name = parse_account(text)
    except AccessInvalid:
        return
    assert name == text == text.casefold()
    assert name.isascii()
    assert re.search(r"[\s/:@\0]", name) is None


def test_subjects_and_rights() -> None:
    assert [parse_subject(text) for text in ("anonymous", "@devs", "alice")] == ["anonymous", "@devs", "alice"]
    for text in ("@", "@@devs", "@anonymous", "Anonymous", "@Devs", "", " alice"):
        with pytest.raises(AccessInvalid):
            parse_subject(text)
    assert parse_rights("delete, pull,pull") == ("pull", "delete")
    for text in ("", ",", "write", "pull;push", "PULL", "*", "admin"):
        with pytest.raises(AccessInvalid):
            parse_rights(text)


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("team/app", ["team/app"], ["team/app2", "team", "team/app/x", "steam/app"]),
        ("team/*", ["team/app", "team/a.b"], ["team", "team/app/x", "teams/app"]),
        ("team/**", ["team/app", "team/app/x/y"], ["team", "teams/app", "a/team/app"]),
        ("**", ["a", "a/b/c"], []),
        ("*", ["a", "a.b"], ["a/b"]),
        ("**/app", ["app", "a/app", "a/b/app"], ["a/apps", "a/app/b", "myapp"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a", "az", "a/b", "b/a/z"]),
        ("app-*", ["app-1", "app-"], ["app", "app-1/x"]),
        ("a.c", ["a.c"], ["abc"]),
    ],
)
def test_what_a_pattern_stands_for(pattern: str, fitting: list[str], others: list[str]) -> None:
    assert parse_pattern(pattern) == pattern
    assert [name for name in fitting + others if fits(pattern, name)] == fitting


@pytest.mark.parametrize(
    "pattern",
    ["", "/a", "a/", "a//b", "***", "a/***/b", "A/*", "a b", "a?", "[ab]", "(a+)+", "a\n", "ä/*", "a" * 256, "*a*b*c*"],
)
def test_no_patterns(pattern: str) -> None:
    with pytest.raises(AccessInvalid):
        parse_pattern(pattern)


@given(NAMES, st.lists(st.one_of(PARTS, st.just("*")), min_size=1, max_size=3).map("/".join))
def test_one_star_stays_within_its_part(name: str, pattern: str) -> None:
    parts, wanted = name.split("/"), pattern.split("/")
    expected = len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
    assert fits(pattern, name) == expected


@given(NAMES, NAMES)
def test_two_stars_are_all_that_is_below(above: str, below: str) -> None:
    assert fits(f"{above}/**", f"{above}/{below}")
    assert not fits(f"{above}/**", above)
    assert fits(f"**/{below}", f"{above}/{below}")
    assert fits(f"**/{below}", below)


def table_of(*records: Record) -> AccessTable:
    table = AccessTable()
    for record in records:
        table.put(record)
    return table


def test_closed_by_default_and_open_by_grants() -> None:
    table = table_of(
        Account("alice"),
        Group("devs", ("alice",)),
        Grant("alice", "own/*", ("pull", "push")),
        Grant("alice", "**", ("pull",)),
        Grant("@devs", "team/**", ("push", "delete")),
        Grant("@ops", "ops/*", ("delete",)),
        Grant("anonymous", "public/**", ("pull",)),
    )
    assert table.rights(ALICE, "own/app") == {"pull", "push"}
    assert table.rights(ALICE, "team/app") == set(RIGHTS)
    assert table.rights(ALICE, "ops/app") == {"pull"}
    assert table.rights(Principal("alice", ("ops",)), "ops/app") == {"pull", "delete"}
    assert table.rights(NOBODY, "public/app") == {"pull"}
    assert table.rights(Principal("bob"), "public/app") == {"pull"}, "what everybody may, whoever is known may too"
    assert table.rights(NOBODY, "own/app") == frozenset()
    assert [table.sees_anything(who) for who in (ALICE, NOBODY)] == [True, True]
    table.drop(GRANT, "anonymous public/**")
    assert not table.sees_anything(NOBODY)
    table.drop(GROUP, "devs")
    assert table.rights(ALICE, "team/app") == {"pull"}


def test_a_name_of_a_group_is_no_account_and_the_other_way_round() -> None:
    table = table_of(Grant("devs", "a", ("pull",)), Grant("@alice", "b", ("pull",)), Group("devs", ("bob",)))
    assert table.rights(Principal("bob"), "a") == frozenset()
    assert table.rights(ALICE, "b") == frozenset()


def test_administrators_may_do_everything() -> None:
    table = table_of(Account("alice", is_admin=True))
    assert table.rights(ALICE, "any/thing") == set(RIGHTS)
    assert table.sees_anything(ALICE)
    table.put(Account("alice"))
    assert table.rights(ALICE, "any/thing") == frozenset()


def test_who_is_still_welcome() -> None:
    table = table_of(Account("alice", valid_from=100.0), Account("bob", expires=200.0))
    assert table.is_current(Principal("alice", issued=100.0), 150.0)
    assert not table.is_current(Principal("alice", issued=99.9), 150.0)
    assert table.is_current(ALICE, 150.0)
    assert table.is_current(Principal("bob"), 199.0)
    assert not table.is_current(Principal("bob"), 200.0)
    table.put(Account("alice", is_disabled=True))
    assert not table.is_current(ALICE, 150.0)


@pytest.mark.parametrize(
    ("record", "kind", "key"),
    [
        (Account("alice", "robot", "hash", True, True, 1.0, 2.0, 3.0), ACCOUNT, "alice"),
        (Group("devs", ("a", "b")), GROUP, "devs"),
        (Grant("@devs", "team/**", ("pull", "push")), GRANT, "@devs team/**"),
        (PublicKey("k", "PEM", 1.0, 2.0), KEY, "k"),
    ],
)
def test_records_as_text(record: Record, kind: str, key: str) -> None:
    assert (kind_of(record), key_of(record)) == (kind, key)
    assert decode(kind, encode(record)) == record


def test_an_account_does_not_show_its_hash() -> None:
    assert "argon" not in repr(Account("alice", secret="$argon2id$"))


def test_members() -> None:
    group = with_member(None, "devs", "alice", is_member=True)
    assert group == with_member(group, "devs", "alice", is_member=True) == Group("devs", ("alice",))
    assert with_member(group, "devs", "alice", is_member=False).members == ()
    table = table_of(group, with_member(group, "devs", "bob", is_member=True))
    assert table.groups_of(Principal("bob", ("ldap",))) == ["devs", "ldap"]
