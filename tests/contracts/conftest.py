"""One fixture a port; each test runs once for every adapter of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts import adapters
from tests.contracts.adapters import LeaseSides, Metadata, Stores, StoresByDigest

needs_postgres = pytest.mark.require("postgres")


@pytest.fixture(params=[*adapters.METADATA, *(pytest.param(kind, marks=needs_postgres) for kind in adapters.POSTGRES)])
async def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Metadata]:
    url = ""
    if request.param in adapters.POSTGRES:
        url = request.getfixturevalue("postgres_server").new_database()
    async with adapters.metadata(request.param, tmp_path, url) as found:
        yield found


@pytest.fixture(params=adapters.LEASES)
async def sides(request: pytest.FixtureRequest) -> AsyncIterator[LeaseSides]:
    async with adapters.lease_sides(request.param) as found:
        yield found


@pytest.fixture(params=[*adapters.STORES, "objects"])
async def any_stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Object stores too, which name what they hold by a key and not by its digest."""
    if request.param == "objects":
        bucket = request.getfixturevalue("s3_server").bucket(f"contract-{uuid.uuid4()}")
        async with adapters.object_stores(bucket, tmp_path) as found:
            yield found
    else:
        async with adapters.stores(request.param, tmp_path) as found:
            yield found


@pytest.fixture(params=adapters.STORES)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoresByDigest]:
    async with adapters.stores(request.param, tmp_path) as found:
        yield found
