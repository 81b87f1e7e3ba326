"""What a node does about a move of the storage: when it begins, when it gives up, and where new blobs go then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from registry.domain.changes import LinkBlob, NoteMove
from registry.domain.digest import Digest
from registry.domain.move import MoveState, StorageMove
from registry.errors import RegistryError, StorageFailure
from registry.processes import move_follower
from registry.processes.move_follower import MoveFollower
from registry.services.move import Mover
from registry.storage.memory.metadata import MemoryMetadata

BEGUN = StorageMove("id", "shoal.toml", True, "node", "host", "data", time.time())


class Storage:
    """What the node was told to do."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def take_over(self, _move: StorageMove) -> None:
        self.told.append("take over")

    async def give_back(self) -> None:
        self.told.append("give back")

    async def fall_back(self, _move: StorageMove) -> None:
        self.told.append("fall back")


class FailingMover:
    """Mover that takes some time and fails."""

    def __init__(self, seconds: float, error: Exception) -> None:
        self._seconds = seconds
        self._error = error

    async def run(self, _move: StorageMove) -> StorageMove:
        await asyncio.sleep(self._seconds)
        raise ExceptionGroup("tasks", [self._error])


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY", "_AGAIN_AFTER", "_NOTE_EVERY"):
        monkeypatch.setattr(move_follower, name, 0.02)
    monkeypatch.setattr(move_follower, "PREPARE_FOR", 0.3)


@asynccontextmanager
async def following(metadata: MemoryMetadata, storage: Storage, mover: object) -> AsyncIterator[None]:
    def made(_on_progress: Callable[[StorageMove], object]) -> Mover:
        return mover  # type: ignore[return-value]

    follower = MoveFollower(metadata, metadata, "node", "the node", storage, made)
    running = asyncio.create_task(follower.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def until(metadata: MemoryMetadata, state: MoveState) -> StorageMove:
    async with asyncio.timeout(5):
        while (move := StorageMove.parse(await metadata.move())) is None or move.state is not state:
            await asyncio.sleep(0.01)
    return move


@pytest.mark.parametrize("error", [StorageFailure("the disk is broken", {"error": "EIO"}), ValueError("a bug")])
async def test_a_move_that_fails_and_fails_ends(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_follower, "_GIVE_UP_AFTER", 0.5)
    metadata, storage = MemoryMetadata(time.time), Storage()
    await metadata.submit(NoteMove("", BEGUN.to_text()))
    begun = time.monotonic()
    async with following(metadata, storage, FailingMover(0.0, error)):
        move = await until(metadata, MoveState.FAILED)
        assert time.monotonic() - begun > 0.8, "it is tried again for some time"
        assert move.why == ("the disk is broken (EIO)" if isinstance(error, RegistryError) else move.why)
        assert move.problems == {}
        async with asyncio.timeout(5):
            while storage.told != ["take over", "fall back"]:
                await asyncio.sleep(0.01)


async def test_a_clock_that_is_wrong_shortens_no_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The move is noted by a command, on a host whose clock may be behind or ahead."""
    monkeypatch.setattr(move_follower, "PREPARE_FOR", 0.5)
    for wrong in (-3600.0, 3600.0):
        metadata, begun = MemoryMetadata(time.time), time.monotonic()
        await metadata.submit(NoteMove("", replace(BEGUN, since=time.time() + wrong).to_text()))
        async with following(metadata, Storage(), FailingMover(60.0, ValueError())):
            await until(metadata, MoveState.MOVING)
            assert time.monotonic() - begun > 0.5


async def test_it_tells_that_it_is_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one blob takes long."""
    monkeypatch.setattr(move_follower, "_BEAT_EVERY", 0.05)
    metadata = MemoryMetadata(time.time)
    await metadata.submit(NoteMove("", BEGUN.to_text()))
    async with following(metadata, Storage(), FailingMover(60.0, ValueError())):
        await until(metadata, MoveState.MOVING)
        await asyncio.sleep(0.5)
        beats = (await until(metadata, MoveState.MOVING)).beat
        await asyncio.sleep(0.5)
        assert (await until(metadata, MoveState.MOVING)).beat > beats


@pytest.mark.parametrize(("location", "told"), [("key", ["fall back"]), ("", [])])
async def test_a_start_after_a_move_that_failed_reads_what_was_moved(location: str, told: list[str]) -> None:
    metadata, storage = MemoryMetadata(time.time), Storage()
    await metadata.submit(LinkBlob("repo", str(Digest.of(b"x")), 1, location))
    await metadata.submit(NoteMove("", replace(BEGUN, state=MoveState.FAILED).to_text()))
    await MoveFollower(metadata, metadata, "node", "", storage, lambda _: None).follow_at_start()  # type: ignore[arg-type,return-value]
    assert storage.told == told
