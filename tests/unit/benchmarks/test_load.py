"""Clients in processes of their own, and wrk's words."""

import os
import time
from collections.abc import Callable
from functools import partial

import pytest

from benchmarks.load.crew import together
from benchmarks.load.http import LoadError
from benchmarks.load.wrk import parse_rate

GOOD = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  28000 requests in 1.00s, 20.00MB read
Requests/sec:  27564.49
Transfer/sec:     14.05MB
"""


def sleep(seconds: float) -> Callable[[], None]:
    return partial(time.sleep, seconds)


def fail_at(when: str) -> Callable[[], object]:
    if when == "preparing":
        raise ValueError("a bad task")
    if when == "working":
        return partial(int, "no number")
    if when == "dying":
        return partial(os._exit, 1)
    return partial(time.sleep, 0)


def test_all_work_at_once() -> None:
    assert 0.3 <= together(sleep, [0.1, 0.3, 0.3, 0.3]) < 0.95


@pytest.mark.parametrize(
    ("when", "told"), [("preparing", "a bad task"), ("working", "no number"), ("dying", "the client's process died")]
)
def test_failure_of_one_is_told_soon(when: str, told: str) -> None:
    started = time.monotonic()
    with pytest.raises(LoadError, match=told):
        together(fail_at, ["never", when, "never"])
    assert time.monotonic() - started < 20


def test_rate_of_wrk() -> None:
    assert parse_rate(GOOD) == 27564.49


@pytest.mark.parametrize(
    "line", ["  Non-2xx or 3xx responses: 5", "  Socket errors: connect 0, read 3, write 0, timeout 0"]
)
def test_bad_answers_are_no_rate(line: str) -> None:
    with pytest.raises(LoadError, match=line.strip()):
        parse_rate(GOOD.replace("Requests/sec", f"{line}\nRequests/sec"))


def test_no_rate() -> None:
    with pytest.raises(LoadError, match="no rate"):
        parse_rate("unable to connect")
