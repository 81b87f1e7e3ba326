"""Random sequences of requests and restarts, against a simple model."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import StartShoal
from tests.properties.registry_machine import machine_for


def run(start_shoal: StartShoal, workers: int, examples: int, steps: int) -> None:
    server = start_shoal(workers=workers)
    run_state_machine_as_test(
        machine_for(server),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert not server.complaints()


def test_one_worker(start_shoal: StartShoal) -> None:
    run(start_shoal, workers=1, examples=40, steps=40)


def test_two_workers(start_shoal: StartShoal) -> None:
    run(start_shoal, workers=2, examples=12, steps=30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [1, 2])
def test_for_long(start_shoal: StartShoal, workers: int) -> None:
    run(start_shoal, workers, examples=250, steps=60)
