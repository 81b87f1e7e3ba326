"""Sums of repositories: of one moment, or none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from replication.states import States
from replication.sums import SetSum
from tests.unit.replication.logs import MemoryLog


class Changing(MemoryLog):
    """One repository, in which something changes while it is read; so often that it is read `changes` times."""

    def __init__(self, changes: int, elsewhere: int = 0) -> None:
        super().__init__()
        self.append(3)
        self._changes = changes
        self._elsewhere = elsewhere

    async def repositories(self, after: str, limit: int) -> Sequence[str]:
        return [] if after else ["team/app", "team/other"][: 2 if self._elsewhere else 1]

    async def manifest_types(self, repository: str, after: str, limit: int) -> Sequence[tuple[str, str]]:
        if self._changes and repository == "team/app":
            self._changes -= 1
            self.append()
        if self._elsewhere and repository == "team/other":
            self.append(self._elsewhere)
        return [("sha256:00", "application/x")]


async def test_what_stands_still() -> None:
    log = Changing(0)
    page = await States(log, log).page("")
    assert [(state.repository, state.serial) for state in page.repositories] == [("team/app", 3)]
    assert page.last == ""
    assert (await States(log, log).page("team/app")).repositories == []


async def test_what_changed_meanwhile_is_read_again() -> None:
    log = Changing(1)
    (state,) = (await States(log, log).page("")).repositories
    assert (state.serial, state.sum != "") == (4, True)


async def test_what_changes_all_the_time_has_no_sum() -> None:
    log = Changing(100)
    (state,) = (await States(log, log).page("")).repositories
    assert state.sum == ""


async def test_what_changes_elsewhere_does_not_matter() -> None:
    log = Changing(0, elsewhere=5)
    _, other = (await States(log, log).page("")).repositories
    assert (other.serial, other.sum != "") == (3, True)


def test_order_does_not_matter_and_items_do() -> None:
    def total(items: Sequence[tuple[str, ...]]) -> str:
        found = SetSum()
        for item in items:
            found.add(*item)
        return found.hex

    items: list[tuple[str, ...]] = [("tag", "a", "1"), ("tag", "b", "1"), ("manifest", "1", "x")]
    assert len({total(order) for order in permutations(items)}) == 1
    others: list[list[tuple[str, ...]]] = [
        items[:2],
        [*items[:2], ("manifest", "1", "y")],
        [*items[:2], ("manifest", "1x")],
        [("tag", "a1", "")],
    ]
    assert len({total(other) for other in (items, *others)}) == len(others) + 1
    assert total([]) == "0" * 64
