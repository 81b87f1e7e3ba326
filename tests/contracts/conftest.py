"""One fixture a port; each test runs once for every adapter of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts import adapters
from tests.contracts.adapters import LeaseSides, Metadata, Stores


@pytest.fixture(params=adapters.METADATA)
async def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Metadata]:
    async with adapters.metadata(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=adapters.LEASES)
async def sides(request: pytest.FixtureRequest) -> AsyncIterator[LeaseSides]:
    async with adapters.lease_sides(request.param) as found:
        yield found


@pytest.fixture(params=adapters.STORES)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    async with adapters.stores(request.param, tmp_path) as found:
        yield found
