"""Whether two patterns can stand for one repository."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.domain.overlap import overlap
from registry.domain.patterns import fits


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("team/app", "team/app"),
        ("team/**", "team/app"),
        ("team/**", "team/a/b"),
        ("**", "a"),
        ("*/app", "team/**"),
        ("te*", "*am"),
        ("**/app", "app"),
        ("**/app", "a/b/app"),
        ("a/**/z", "a/z"),
        ("a*b*c", "ab*bc"),
        ("*/*", "**"),
    ],
)
def test_they_do(one: str, other: str) -> None:
    assert overlap(one, other)
    assert overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("team/app", "team/web"),
        ("team/**", "team"),
        ("team/**", "teams/app"),
        ("*", "team/app"),
        ("*/*", "app"),
        ("*/app", "team/web"),
        ("a*", "b*"),
        ("*a", "*b"),
        ("**/app", "team/**/web"),
        ("a/*/z", "a/z"),
    ],
)
def test_they_do_not(one: str, other: str) -> None:
    assert not overlap(one, other)
    assert not overlap(other, one)


PATTERNS = st.text("ab/*", min_size=1, max_size=8).filter(lambda text: "***" not in text and "//" not in text)
NAMES = st.text("ab/", min_size=1, max_size=8)


@given(PATTERNS, PATTERNS, NAMES)
def test_what_fits_both_is_found(one: str, other: str, name: str) -> None:
    if fits(one, name) and fits(other, name):
        assert overlap(one, other)


@given(PATTERNS, NAMES.filter(lambda name: "//" not in name))
def test_a_name_overlaps_with_what_it_fits(pattern: str, name: str) -> None:
    assert overlap(pattern, name) == fits(pattern, name)
