"""A node's part in a move of the storage: it follows what the database says of one, and copies where it is the one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

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


class MoveFollower:
    """`take_over` opens both stores, new blobs going to the other one, and raises StartupError where it cannot.

    `node`: of this node in the database, and `called`: for people. `give_back` undoes what `take_over` did. `mover`
    makes what copies; it is given a function to call with the progress.
    """

    def __init__(
        self,
        reader: MoveReader,
        changes: Changes,
        node: str,
        called: str,
        take_over: Callable[[StorageMove], Awaitable[None]],
        give_back: Callable[[], Awaitable[None]],
        mover: Callable[[Callable[[StorageMove], object]], Mover],
    ) -> None:
        self._reader = reader
        self._changes = changes
        self._node = node
        self._called = called
        self._take_over = take_over
        self._give_back = give_back
        self._mover = mover
        self._followed = ""
        self._failed = ""

    async def follow_at_start(self) -> None:
        """Before the node serves: take part in a move that goes on. Raises StartupError."""
        move = StorageMove.parse(await self._reader.move())
        if move is not None and move.goes_on:
            await self._open(move)
            self._followed = move.id

    async def run(self) -> None:
        """For as long as the node runs."""
        while True:
            try:
                await self._look()
            except* RegistryError as failed:
                why = _told(failed.exceptions[0])
                log.error("the move of the storage has to wait", error=why)
                await self._say_why(why)
                await asyncio.sleep(_AGAIN_AFTER)
            except* Exception:  # whatever it was, a later look may do better
                log.exception("the move of the storage failed")
                await asyncio.sleep(_AGAIN_AFTER)
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        move = StorageMove.parse(await self._reader.move())
        if move is None:
            return
        if move.state is MoveState.REFUSED and self._followed == move.id:
            await self._give_back()
            self._followed = ""
        if move.goes_on and self._followed != move.id and not await self._follows(move):
            return
        if move.node == self._node:
            if move.state is MoveState.PREPARING and time.time() - move.since > PREPARE_FOR:
                await self._note(move, replace(move, state=MoveState.MOVING))
            elif move.state is MoveState.MOVING:
                await self._move(move)

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
        self._followed = move.id
        log.info("new blobs go to the other store, and all others follow", settings=move.settings)
        return True

    async def _open(self, move: StorageMove) -> None:
        if not move.into_bucket and move.node != self._node:
            raise StartupError(
                "it shares the registry, and could not read files of another node: stop it for good, then move"
            )
        await self._take_over(move)

    async def _move(self, move: StorageMove) -> None:
        noted, latest = move, replace(move, why="")

        def on_progress(now: StorageMove) -> None:
            nonlocal latest
            latest = now

        moving = asyncio.create_task(self._mover(on_progress).run(latest))
        try:
            while not moving.done():
                await asyncio.wait([moving], timeout=_NOTE_EVERY)
                if latest != noted:
                    await self._note(noted, latest)
                    noted = latest
            done = await moving
        finally:
            moving.cancel()
        await self._note(noted, replace(done, state=MoveState.DONE))
        log.info("the storage has moved", blobs=done.blobs, bytes=done.size, problems=len(done.problems))

    async def _say_why(self, why: str) -> None:
        """Tell those who watch what the move waits for."""
        with suppress(RegistryError):  # the database may be what it waits for
            move = StorageMove.parse(await self._reader.move())
            if move is not None and move.goes_on and move.node == self._node:
                await self._note(move, replace(move, why=why))

    async def _note(self, before: StorageMove, after: StorageMove) -> None:
        await self._changes.submit(NoteMove(before.to_text(), after.to_text()))


def _told(error: BaseException) -> str:
    """The first of the errors that tasks had at the same time, with what the store said."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = error.detail.get("error") if isinstance(error, RegistryError) else None
    return f"{error} ({said})" if said else str(error)
