"""Leases and Removals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from registry.domain.changes import DeleteTag
from registry.domain.digest import Digest
from registry.errors import ManifestUnknown, Unavailable
from registry.ports import Leases
from registry.services.leases import LocalLeases
from registry.storage.memory.metadata import MemoryMetadata
from tests.contracts import adapters
from tests.contracts.adapters import LeaseSides, ManualClock

DIGEST, ANOTHER = Digest.of(b"one"), Digest.of(b"two")


async def free(sides: LeaseSides, digest: Digest) -> bool:
    async with sides.removals.removal(digest) as alone:
        return alone


async def test_what_is_leased_is_not_removed(sides: LeaseSides) -> None:
    assert await free(sides, DIGEST)
    async with sides.one.hold(DIGEST):
        assert not await free(sides, DIGEST)
        assert await free(sides, ANOTHER)
    assert await free(sides, DIGEST)


async def test_holders_share_a_lease(sides: LeaseSides) -> None:
    async with sides.one.hold(DIGEST):
        async with sides.other.hold(DIGEST), sides.one.hold(DIGEST):
            assert not await free(sides, DIGEST)
        assert not await free(sides, DIGEST)
    assert await free(sides, DIGEST)


async def test_a_lease_waits_while_a_removal_runs(sides: LeaseSides) -> None:
    order = []

    async def lease() -> None:
        async with sides.one.hold(DIGEST):
            order.append("leased")

    async with sides.removals.removal(DIGEST) as alone:
        assert alone
        waiting = asyncio.create_task(lease())
        async with sides.other.hold(ANOTHER):
            await asyncio.sleep(0.05)
        assert not waiting.done()
        order.append("removed")
    await asyncio.wait_for(waiting, 5)
    assert order == ["removed", "leased"]


async def test_of_two_removals_one_goes_on(sides: LeaseSides) -> None:
    async with sides.removals.removal(DIGEST) as first:
        assert (first, await free(sides, DIGEST)) == (True, False)


async def test_ends_with_an_error_inside(sides: LeaseSides) -> None:
    with pytest.raises(RuntimeError):
        async with sides.one.hold(DIGEST):
            raise RuntimeError
    assert await free(sides, DIGEST)


async def test_a_holder_that_was_cancelled_leaves_no_lease(sides: LeaseSides) -> None:
    """Both while it holds and while it still waits."""

    async def lease() -> None:
        async with sides.one.hold(DIGEST):
            await asyncio.sleep(60)

    async with sides.removals.removal(DIGEST):
        waiting = asyncio.create_task(lease())
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
    holding = asyncio.create_task(lease())
    await asyncio.sleep(0.05)
    assert not await free(sides, DIGEST)
    holding.cancel()
    await asyncio.wait([holding])
    await asyncio.sleep(0.05)
    assert await free(sides, DIGEST)


async def test_a_worker_that_dies_gives_its_leases_back() -> None:
    leases = LocalLeases()
    async with adapters.worker_of(MemoryMetadata(ManualClock()), leases) as remote:
        holding = asyncio.create_task(hold_for_ever(remote))
        await asyncio.sleep(0.05)
        async with leases.removal(DIGEST) as alone:
            assert not alone
    async with leases.removal(DIGEST) as alone:
        assert alone
    holding.cancel()
    await asyncio.wait([holding])


async def hold_for_ever(leases: Leases) -> None:
    async with leases.hold(DIGEST):
        await asyncio.sleep(60)


async def test_a_worker_whose_node_is_gone_is_told_so(tmp_path: Path) -> None:
    async with adapters.metadata("sql over the channel", tmp_path) as metadata:
        with pytest.raises(ManifestUnknown):
            await metadata.changes.submit(DeleteTag("a", "b"))
        remote = metadata.changes
    for _ in range(2):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(remote.submit(DeleteTag("a", "b")), 2)


async def test_many_requests_of_a_worker_are_answered_each_with_its_own(tmp_path: Path) -> None:
    async with adapters.metadata("sql over the channel", tmp_path) as metadata:
        refusals = await asyncio.gather(
            *(metadata.changes.submit(DeleteTag("repo", f"tag{number}")) for number in range(100)),
            return_exceptions=True,
        )
        assert [refusal.detail["tag"] for refusal in refusals if isinstance(refusal, ManifestUnknown)] == [
            f"tag{number}" for number in range(100)
        ]
