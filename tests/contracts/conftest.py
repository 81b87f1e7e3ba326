"""One fixture a port; each test runs once for every adapter of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.ports import Changes
from registry.storage.metadata import databases
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.rows import Rows
from registry.storage.metadata.writer import GroupCommitWriter
from tests.contracts import adapters
from tests.contracts.adapters import LeaseSides, ManualClock, Metadata, Stores, StoresByDigest

needs_postgres = pytest.mark.require("postgres")


@pytest.fixture(params=[*adapters.METADATA, *(pytest.param(kind, marks=needs_postgres) for kind in adapters.POSTGRES)])
async def metadata(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Metadata]:
    url = ""
    if request.param in adapters.POSTGRES:
        url = request.getfixturevalue("postgres_server").new_database()
    async with adapters.metadata(request.param, tmp_path, url) as found:
        yield found


@dataclass
class Database:
    """A new one that is written to by `changes`."""

    rows: Rows
    changes: Changes


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    url = request.getfixturevalue("postgres_server").new_database() if request.param == "postgres" else ""
    chosen, commits = databases.chosen(url, tmp_path), CommitCounter.create()
    chosen.prepare(may_be_new=True)
    rows = chosen.rows()
    writer = GroupCommitWriter(chosen.transactions(), commits, ManualClock(), lambda _count, _serial: None)
    writer.start()
    try:
        yield Database(rows, writer)
    finally:
        await writer.stop()
        await rows.close()
        commits.close()


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
