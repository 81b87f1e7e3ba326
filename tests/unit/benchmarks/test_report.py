"""Rows and how they are told."""

import json

import pytest
from rich.console import Console

from benchmarks.report import Goal, Row, make_row, shown, to_json, to_table

EIGHT_TIMES = Goal("ratio", "least", 8)
MEMORY = Goal("value", "most", 150)


def text_of(rows: list[Row], peer: str | None) -> str:
    console = Console(width=160, record=True, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        console.print(to_table(rows, peer, 3))
    return captured.get()


def test_row_is_of_medians() -> None:
    row = make_row("rate", "requests/s", EIGHT_TIMES, [100, 9000, 80], "other 1.0", [10, 1, 20])
    assert (row.value, row.peer_value, row.ratio) == (100, 10, 10)
    assert row.met is True
    assert row.goal == "≥ 8 x"
    assert (row.runs.value, row.runs.peer_value) == ((100, 9000, 80), (10, 1, 20))


@pytest.mark.parametrize(
    ("goal", "value", "peer_value", "met"),
    [
        (EIGHT_TIMES, 80, 10, True),
        (EIGHT_TIMES, 79, 10, False),
        (Goal("ratio", "most", 1.2), 12, 10, True),
        (Goal("ratio", "most", 1.2), 13, 10, False),
        (MEMORY, 150, 1, True),
        (MEMORY, 151, 1000, False),
        (Goal("value", "least", 5), 4, 1, False),
    ],
)
def test_goal(goal: Goal, value: float, peer_value: float, met: bool) -> None:
    assert make_row("figure", "MB", goal, [value], "other", [peer_value]).met is met


def test_row_without_peer() -> None:
    row = make_row("rate", "requests/s", EIGHT_TIMES, [100], "other 1.0", [])
    assert (row.peer, row.peer_value, row.ratio, row.met) == (None, None, None, None)
    assert make_row("memory", "MB", MEMORY, [100], None, []).met is True


def test_json_has_the_agreed_fields() -> None:
    row = make_row("rate", "requests/s", EIGHT_TIMES, [100], "other 1.0", [10])
    [told] = json.loads(to_json([row]))
    assert list(told) == ["name", "value", "unit", "peer", "peer_value", "ratio", "goal", "met", "runs"]
    assert told["runs"] == {"value": [100], "peer_value": [10]}


def test_table() -> None:
    good = make_row("rate", "requests/s", EIGHT_TIMES, [12345], "other 1.0", [1000])
    missed = make_row("time", "ms", Goal("ratio", "most", 1.5), [0.4], "a short list", [0.2])
    alone = make_row("alone", "MB/s", EIGHT_TIMES, [1], None, [])
    lines = text_of([good, missed, alone], "other 1.0").splitlines()
    [rate] = [line for line in lines if "rate" in line]
    assert "12,345 requests/s" in rate
    assert "1,000" in rate
    assert "12.35 x" in rate
    assert "yes" in rate
    assert "beside" not in rate
    [time] = [line for line in lines if "time" in line]
    assert "beside: a short list" in time
    assert time.split()[-7:] == ["0.2", "2.00", "x", "≤", "1.5", "x", "no"]
    [row] = [line for line in lines if "alone" in line]
    assert row.split() == ["alone", "1", "MB/s", "≥", "8", "x", "-"]
    assert "the peer is other 1.0" in lines[0]


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_shown(value: float, text: str) -> None:
    assert shown(value) == text
