"""The judge of histories: it has to be able to say no."""

from __future__ import annotations

import pytest

from tests.harness.history import FOREVER, Operation, has_serial_order


def write(start: float, end: float, value: str | None) -> Operation:
    return Operation(start, end, value, writes=True)


def read(start: float, end: float, value: str | None) -> Operation:
    return Operation(start, end, value, writes=False)


@pytest.mark.parametrize(
    ("history", "fits"),
    [
        ([], True),
        ([read(0, 1, None)], True),
        ([read(0, 1, "a")], False),
        ([write(0, 1, "a"), read(2, 3, "a")], True),
        ([write(0, 1, "a"), read(2, 3, None)], False),
        ([write(0, 3, "a"), read(1, 2, None)], True),
        ([write(0, 3, "a"), read(1, 2, "a"), read(2.5, 4, None)], False),
        ([write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a")], False),
        ([write(0, 3, "a"), write(1, 4, "b"), read(5, 6, "a")], True),
        ([write(0, 3, "a"), write(1, 4, "b"), read(5, 6, "a"), read(7, 8, "b")], False),
        ([write(0, FOREVER, "a"), read(5, 6, None), read(7, 8, "a")], True),
        ([write(0, FOREVER, "a"), read(5, 6, "a"), read(7, 8, None)], False),
        ([write(0, 1, "a"), write(2, 3, None), read(4, 5, "a")], False),
        ([write(0, FOREVER, "a"), write(1, 2, "b"), read(3, 4, "a"), write(5, 6, "b"), read(7, 8, "a")], False),
        ([*2 * [write(0, FOREVER, "a")], write(1, 2, "b"), read(3, 4, "a"), write(5, 6, "b"), read(7, 8, "a")], True),
        ([write(3, FOREVER, "a"), read(1, 2, "a")], False),
    ],
)
def test_a_history(history: list[Operation], fits: bool) -> None:
    assert has_serial_order(history) is fits


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("seen", "fits"), [("1", True), ("never written", False)])
def test_many_writes_without_an_answer_are_no_burden(seen: str, fits: bool) -> None:
    """As many as clients leave behind while a node is away."""
    lost = [write(number, FOREVER, str(number % 4)) for number in range(150)]
    busy = [write(number, number + 3, str(number % 3)) for number in range(200)]
    assert has_serial_order([*lost, *busy, read(300, 301, seen)]) is fits
