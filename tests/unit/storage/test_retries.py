"""When a store is asked again: decided from what it said, how often it was asked, and what time is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.storage.s3.retries import Failure, wait

PASSING = [
    Failure(),
    Failure(408),
    Failure(429, "TooManyRequests"),
    Failure(500, "InternalError"),
    Failure(502),
    Failure(503, "SlowDown"),
    Failure(504),
    Failure(400, "RequestTimeout"),
    Failure(400, "RequestTimeTooSkewed"),
    Failure(403, "RequestTimeTooSkewed"),
    Failure(400, "ExpiredToken"),
]
LASTING = [
    Failure(301, "PermanentRedirect"),
    Failure(400, "BadDigest"),
    Failure(403, "AccessDenied"),
    Failure(403, "SignatureDoesNotMatch"),
    Failure(404, "NoSuchKey"),
    Failure(404, "NoSuchUpload"),
    Failure(405),
    Failure(411),
    Failure(501, "NotImplemented"),
]


@pytest.mark.parametrize("failure", PASSING, ids=str)
def test_what_may_pass_is_asked_again(failure: Failure) -> None:
    assert failure.passes
    assert wait(failure, 0, 0.0, 30.0, 0.5) is not None


@pytest.mark.parametrize("failure", LASTING, ids=str)
def test_what_stays_is_not(failure: Failure) -> None:
    assert not failure.passes
    assert wait(failure, 0, 0.0, 30.0, 0.5) is None


def test_waits_double_up_to_a_bound() -> None:
    longest = [wait(Failure(503), attempt, 0.0, 60.0, 1.0) for attempt in range(8)]
    assert longest == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]


def test_the_store_may_ask_for_more_time_within_reason() -> None:
    assert wait(Failure(503, "SlowDown", retry_after=4.0), 0, 0.0, 60.0, 0.0) == 4.0
    assert wait(Failure(503, "SlowDown", retry_after=3600.0), 0, 0.0, 60.0, 0.0) == 10.0


def test_a_retry_that_comes_after_the_budget_is_none() -> None:
    assert wait(Failure(503, retry_after=4.0), 0, 26.0, 30.0, 0.0) == 4.0
    assert wait(Failure(503, retry_after=4.0), 0, 26.1, 30.0, 0.0) is None


@given(
    attempt=st.integers(0, 10_000),
    elapsed=st.floats(0.0, 120.0),
    budget=st.floats(0.0, 120.0),
    chance=st.floats(0.0, 1.0),
    retry_after=st.floats(0.0, 1e9),
)
def test_no_wait_leaves_the_budget(
    attempt: int, elapsed: float, budget: float, chance: float, retry_after: float
) -> None:
    seconds = wait(Failure(503, retry_after=retry_after), attempt, elapsed, budget, chance)
    assert seconds is None or (0.0 <= seconds <= 10.0 and elapsed + seconds <= budget)
