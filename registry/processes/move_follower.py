"""A node's part in a move of the storage: it follows what the database says of one, and copies where it is the one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog

from registry.domain.changes import NoteMove
from registry.domain.move import MoveState, StorageMove
from registry.errors import RegistryError, StartupError
from registry.ports import Changes, MoveReader
from registry.services.move import Mover

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0  # seconds
# So long nothing is moved: each node looks several times by then, and its workers hear of it.
PREPARE_FOR = 3.0  # seconds
_NOTE_EVERY = 0.5  # seconds
_AGAIN_AFTER = 5.0  # seconds
_GIVE_UP_AFTER = 600.0  # seconds
_BEAT_EVERY = 10.0  # seconds


class Storage(Protocol):
    """Which stores a node uses."""

    async def take_over(self, move: StorageMove) -> None:
        """Open both, new blobs going to the other one. Raises StartupError, and changes nothing then."""
        ...

    async def give_back(self) -> None:
        """Undo that: nothing has moved."""
        ...

    async def fall_back(self, move: StorageMove) -> None:
        """Keep both open, new blobs going where they went before. Raises StartupError."""
        ...


class MoveFollower:
    """`node`: of this node in the database, and `called`: for people.

    `mover` makes what copies; it is given a function to call with the progress.
    """

    def __init__(
        self,
        reader: MoveReader,
        changes: Changes,
        node: str,
        called: str,
        storage: Storage,
        mover: Callable[[Callable[[StorageMove], object]], Mover],
    ) -> None:
        self._reader = reader
        self._changes = changes
        self._node = node
        self._called = called
        self._storage = storage
        self._mover = mover
        self._followed = ""
        self._followed_since = 0.0
        self._failed = ""
        self._stuck = _Stuck()

    async def follow_at_start(self) -> None:
        """Before the node serves: take part in a move that goes on, or has failed half-way. Raises StartupError."""
        move = StorageMove.parse(await self._reader.move())
        if move is not None and move.goes_on:
            await self._open(move)
        elif move is not None and move.state is MoveState.FAILED and await self._reader.misplaced(False, ""):
            await self._storage.fall_back(move)

    async def run(self) -> None:
        """For as long as the node runs."""
        while True:
            try:
                await self._look()
            except* RegistryError as failed:
                why = _told(failed.exceptions[0])
                log.error("the move of the storage has to wait", error=why)
                await self._wait(why)
            except* Exception:  # whatever it was, a later look may do better
                log.exception("the move of the storage failed")
                await self._wait("an internal error; the log has more")
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        move = StorageMove.parse(await self._reader.move())
        if move is None:
            return
        if self._followed == move.id and move.state in (MoveState.REFUSED, MoveState.FAILED):
            await self._end(move)
        if move.goes_on and self._followed != move.id and not await self._follows(move):
            return
        if move.node == self._node:
            # By our own clock: that of the host where the command runs may be another.
            prepared = time.monotonic() - self._followed_since > PREPARE_FOR
            if move.state is MoveState.PREPARING and prepared:
                await self._note(move, replace(move, state=MoveState.MOVING))
            elif move.state is MoveState.MOVING:
                await self._move(move)

    async def _end(self, move: StorageMove) -> None:
        if move.state is MoveState.REFUSED:
            await self._storage.give_back()
        else:
            try:
                await self._storage.fall_back(move)
                log.warning("the move of the storage has failed: new blobs go where they went before", why=move.why)
            except StartupError as error:  # both stores stay as they are, and all can be read
                log.error("new blobs still go to the other store", error=str(error))
        self._followed = ""

    async def _follows(self, move: StorageMove) -> bool:
        try:
            await self._open(move)
        except StartupError as error:
            if self._failed != move.id:
                log.error("this node cannot take part in the move of the storage", error=str(error))
            self._failed = move.id
            if move.state is MoveState.PREPARING:
                why = f"the node of {self._called}: {error}"
                await self._note(move, replace(move, state=MoveState.REFUSED, why=why))
            return False
        log.info("new blobs go to the other store, and all others follow", settings=move.settings)
        return True

    async def _open(self, move: StorageMove) -> None:
        if not move.into_bucket and move.node != self._node:
            raise StartupError(
                "it shares the registry, and could not read files of another node: stop it for good, then move"
            )
        await self._storage.take_over(move)
        self._followed, self._followed_since = move.id, time.monotonic()

    async def _move(self, move: StorageMove) -> None:
        noted, latest, beaten = move, replace(move, why=""), time.monotonic()

        def on_progress(now: StorageMove) -> None:
            nonlocal latest
            latest = now

        moving = asyncio.create_task(self._mover(on_progress).run(latest))
        try:
            while not moving.done():
                await asyncio.wait([moving], timeout=_NOTE_EVERY)
                if replace(latest, beat=noted.beat) != noted or time.monotonic() - beaten > _BEAT_EVERY:
                    now, beaten = replace(latest, beat=noted.beat + 1), time.monotonic()
                    await self._note(noted, now)
                    noted = now
            done = await moving
        finally:
            moving.cancel()
        await self._note(noted, replace(done, state=MoveState.DONE))
        log.info("the storage has moved", blobs=done.blobs, bytes=done.size, problems=len(done.problems))

    async def _wait(self, why: str) -> None:
        """Tell those who watch what the move waits for; it has failed where it waits for too long."""
        with suppress(RegistryError):  # the database may be what it waits for
            move = StorageMove.parse(await self._reader.move())
            if move is not None and move.goes_on and move.node == self._node:
                gives_up = self._stuck.since_last_blob(move) > _GIVE_UP_AFTER and move.state is MoveState.MOVING
                state = MoveState.FAILED if gives_up else move.state
                await self._note(move, replace(move, state=state, why=why, beat=move.beat + 1))
        await asyncio.sleep(_AGAIN_AFTER)

    async def _note(self, before: StorageMove, after: StorageMove) -> None:
        await self._changes.submit(NoteMove(before.to_text(), after.to_text()))


class _Stuck:
    """For how long a move has been failing without a blob that was moved."""

    def __init__(self) -> None:
        self._at = ("", 0)
        self._since = 0.0

    def since_last_blob(self, move: StorageMove) -> float:
        """In seconds, at the next failure."""
        if (move.id, move.blobs) != self._at:
            self._at, self._since = (move.id, move.blobs), time.monotonic()
        return time.monotonic() - self._since


def _told(error: BaseException) -> str:
    """The first of the errors that tasks had at the same time, with what the store said."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = error.detail.get("error") if isinstance(error, RegistryError) else None
    return f"{error} ({said})" if said else str(error)
