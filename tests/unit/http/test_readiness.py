"""How often it is looked whether the node can serve, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiohttp.test_utils import make_mocked_request

from registry.errors import RegistryError, Unavailable
from registry.http.router import Call
from registry.http.system import SystemHandlers


async def _no_notes() -> Sequence[str]:
    return ()


async def _no_metrics() -> tuple[bytes, str]:
    return b"", ""


@pytest.mark.parametrize(("failure", "status"), [(None, 200), (Unavailable("the store is down"), 503)])
async def test_a_crowd_costs_one_look(failure: RegistryError | None, status: int) -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        if failure is not None:
            raise failure

    handlers = SystemHandlers(look, _no_notes, _no_metrics)
    call = Call(make_mocked_request("GET", "/readyz"), "id")
    for round_number in (1, 2):
        answers = await asyncio.gather(*(handlers.readiness(call) for _ in range(50)))
        assert {answer.status for answer in answers} == {status}
        assert looks == round_number
