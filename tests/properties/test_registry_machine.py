"""Random sequences of requests and restarts, against a simple model."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import StartShoal
from tests.properties.registry_machine import machine_for


def run(start_shoal: StartShoal, workers: int, examples: int, steps: int, phases: tuple[Phase, ...]) -> None:
    server = start_shoal(workers=workers)
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, phases=phases, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine_for(server), settings=chosen)
    assert not server.complaints()


# Shrinking a failure takes minutes, as each try talks to a server: --slow does it.
@pytest.mark.parametrize(("workers", "examples"), [(1, 25), (2, 10)])
def test_for_a_while(start_shoal: StartShoal, workers: int, examples: int) -> None:
    run(start_shoal, workers, examples, 30, (Phase.explicit, Phase.reuse, Phase.generate))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [1, 2])
def test_for_long(start_shoal: StartShoal, workers: int) -> None:
    run(start_shoal, workers, 250, 60, tuple(Phase))
