"""Grants found by the beginnings of a name are those that fit it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.domain.access import GRANT, GROUP, NOBODY, RIGHTS, AccessTable, Account, Grant, Group, Principal
from registry.domain.granted import Granted, beginnings, plain_beginning
from registry.domain.patterns import fits

PARTS = st.sampled_from(["a", "b", "ab", "a-b"])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATTERNS = st.lists(PARTS | st.sampled_from(["*", "**", "a*", "*b", "a**"]), min_size=1, max_size=4).map("/".join)
SOME_RIGHTS = st.frozensets(st.sampled_from(["pull", "push", "delete"]), min_size=1)


@given(st.dictionaries(PATTERNS, SOME_RIGHTS, max_size=12), st.lists(PATTERNS, max_size=3), NAMES)
def test_what_fits_is_found(patterns: dict[str, frozenset[str]], dropped: list[str], name: str) -> None:
    granted = Granted()
    for pattern, rights in patterns.items():
        granted.put(pattern, frozenset({"pull"}))
        granted.put(pattern, rights)  # in the place of what was
    for pattern in dropped:
        granted.drop(pattern)
    left = {pattern: rights for pattern, rights in patterns.items() if pattern not in dropped}

    assert dict(granted.items()) == left
    assert bool(granted) == bool(left)
    expected = frozenset(right for pattern, rights in left.items() if fits(pattern, name) for right in rights)
    assert granted.rights(name, beginnings(name)) == expected


def test_beginnings() -> None:
    assert beginnings("a") == ["", "a"]
    assert beginnings("a/b/c") == ["", "a", "a/b", "a/b/c"]


def test_plain_beginnings() -> None:
    assert [plain_beginning(pattern) for pattern in ("a/b", "a/**", "a/b*/c", "**", "a*")] == ["a/b", "a", "a", "", ""]


def test_a_decision_is_remembered_until_the_table_changes() -> None:
    table = AccessTable()
    asked = Principal("ann", groups=("devs",)), "team/app"
    for record, rights in (
        (Grant("ann", "team/**", ("pull",)), {"pull"}),
        (Grant("@devs", "team/*", ("push",)), {"pull", "push"}),
        (Group("ops", ("ann",)), {"pull", "push"}),
        (Grant("@ops", "**", ("delete",)), {"pull", "push", "delete"}),
    ):
        table.put(record)
        assert table.rights(*asked) == table.rights(*asked) == rights
        assert table.rights(Principal("bob"), "team/app") == frozenset()
    table.drop(GROUP, "ops")
    assert table.rights(*asked) == {"pull", "push"}
    table.drop(GRANT, "@devs team/*")
    assert table.rights(*asked) == {"pull"}
    table.put(Account("ann", is_admin=True))
    assert table.rights(*asked) == set(RIGHTS)
    table.put(Account("ann"))
    assert table.rights(*asked) == {"pull"}


def test_names_that_somebody_invents_fill_no_memory() -> None:
    table = AccessTable()
    table.put(Grant("ann", "team/**", ("pull",)))
    for number in range(50_000):
        assert not table.rights(NOBODY, f"invented/{number}")
    assert len(table._decided) <= 20_000
