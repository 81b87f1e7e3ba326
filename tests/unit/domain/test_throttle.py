"""How long somebody waits who fails to log in."""

from __future__ import annotations

from registry.domain.throttle import FailedLogins

HERE, THERE = "192.0.2.1", "192.0.2.2"


def failed(failures: FailedLogins, count: int, address: str = HERE, name: str = "alice", now: float = 0.0) -> None:
    for _ in range(count):
        failures.failed(address, name, now)


def test_some_failures_are_free_and_each_further_one_doubles_the_wait() -> None:
    failures, waits = FailedLogins(), []
    for _ in range(13):
        failed(failures, 1)
        waits.append(failures.wait(HERE, "alice", 0.0))
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_the_wait_ends() -> None:
    failures = FailedLogins()
    failed(failures, 7)
    assert [failures.wait(HERE, "alice", now) for now in (0.0, 0.5, 2.0, 99.0)] == [2.0, 1.5, 0.0, 0.0]


def test_whoever_guesses_from_elsewhere_keeps_nobody_out() -> None:
    failures = FailedLogins()
    failed(failures, 1000, THERE)
    assert failures.wait(THERE, "alice", 0.0) == 60
    assert failures.wait(HERE, "alice", 0.0) == 0


def test_an_address_that_tries_many_names_waits_with_each() -> None:
    failures = FailedLogins()
    for number in range(50):
        failures.failed(HERE, f"name{number}", 0.0)
    assert failures.wait(HERE, "another", 0.0) == 0
    failures.failed(HERE, "name50", 0.0)
    assert failures.wait(HERE, "another", 0.0) == 1


def test_who_logs_in_begins_anew_but_the_address_goes_on_counting() -> None:
    failures = FailedLogins()
    failed(failures, 51)
    failures.succeeded(HERE, "alice")
    assert failures.wait(HERE, "alice", 0.0) == 1
    assert failures.wait(HERE, "alice", 1.0) == 0


def test_old_failures_are_forgotten() -> None:
    failures = FailedLogins()
    failed(failures, 30)
    failed(failures, 1, now=901.0)
    assert failures.wait(HERE, "alice", 901.0) == 0


def test_memory_is_bounded() -> None:
    failures = FailedLogins()
    for number in range(20_000):
        failures.failed(f"address {number}", "alice", 0.0)
    assert len(failures._known) <= 10_000
