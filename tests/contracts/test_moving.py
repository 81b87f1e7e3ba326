"""MoveReader and the changes that move blobs between files and objects."""

from __future__ import annotations

import pytest

from registry.domain.changes import (
    DeleteBlob,
    ForgetLeftovers,
    KeepPlan,
    LinkBlob,
    MoveBlob,
    NoteMove,
    Outcome,
    PlanObject,
)
from registry.domain.digest import Digest
from registry.domain.upload import ANY_MULTIPART, Leftover
from registry.ports import StoredBlob
from tests.contracts.adapters import Metadata

REPO = "library/one"
DIGEST = str(Digest.of(b"content"))
PLANNED = {Leftover("key"), Leftover("key", ANY_MULTIPART)}
FAR = 1e12


async def left_over(metadata: Metadata) -> set[Leftover]:
    return set(await metadata.sessions.leftovers(FAR))


async def place(metadata: Metadata) -> str | None:
    link = await metadata.reader.blob(REPO, DIGEST)
    return None if link is None else link.location


async def test_a_file_becomes_an_object_and_its_file_garbage(metadata: Metadata) -> None:
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(PlanObject("key"))
    assert await left_over(metadata) == PLANNED
    assert await metadata.node.submit(MoveBlob(DIGEST, "", "key")) == Outcome()
    assert await place(metadata) == "key"
    assert await left_over(metadata) == set()
    assert list(await metadata.reader.garbage()) == [DIGEST]


async def test_an_object_becomes_a_file_and_is_left_over(metadata: Metadata) -> None:
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7, "key"))
    assert list(await metadata.reader.garbage()) == [DIGEST]
    assert await metadata.node.submit(MoveBlob(DIGEST, "key", "")) == Outcome()
    assert await place(metadata) == ""
    assert await left_over(metadata) == {Leftover("key")}
    assert list(await metadata.reader.garbage()) == []


async def test_a_blob_that_went_meanwhile_stays_gone(metadata: Metadata) -> None:
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(PlanObject("key"))
    await metadata.node.submit(DeleteBlob(REPO, DIGEST))
    assert await metadata.node.submit(MoveBlob(DIGEST, "", "key")) == Outcome(changed=False)
    assert await place(metadata) is None
    assert await left_over(metadata) == PLANNED


async def test_a_file_that_nobody_needs_any_more_is_garbage(metadata: Metadata) -> None:
    assert await metadata.node.submit(MoveBlob(DIGEST, "key", "")) == Outcome(changed=False)
    assert list(await metadata.reader.garbage()) == [DIGEST]


async def test_a_push_meanwhile_wins(metadata: Metadata) -> None:
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(PlanObject("key"))
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7, "another"))
    assert await metadata.node.submit(MoveBlob(DIGEST, "", "key")) == Outcome(changed=False)
    assert await place(metadata) == "another"
    assert await left_over(metadata) == PLANNED


async def test_a_move_that_is_made_again_changes_nothing(metadata: Metadata) -> None:
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(PlanObject("key"))
    for changed in (True, False):
        assert await metadata.node.submit(MoveBlob(DIGEST, "", "key")) == Outcome(changed=changed)
    assert await left_over(metadata) == set()


@pytest.mark.parametrize("collected", [PLANNED, {Leftover("key")}, {Leftover("key", ANY_MULTIPART)}])
async def test_an_object_whose_plan_was_collected_is_no_blob(metadata: Metadata, collected: set[Leftover]) -> None:
    """The collector may have removed it; what was made after that is left over again."""
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(PlanObject("key"))
    await metadata.node.submit(ForgetLeftovers(tuple(collected)))
    assert await metadata.node.submit(MoveBlob(DIGEST, "", "key")) == Outcome(changed=False)
    assert await place(metadata) == ""
    assert await left_over(metadata) == (PLANNED - collected) | {Leftover("key")}
    assert list(await metadata.reader.garbage()) == []


async def test_what_is_not_where_it_shall_be_is_found(metadata: Metadata) -> None:
    other = str(Digest.of(b"other"))
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(LinkBlob(REPO, other, 5, "key"))
    assert await metadata.moves.misplaced(True, "") == [StoredBlob(Digest.parse(DIGEST), 7)]
    assert await metadata.moves.misplaced(False, "") == [StoredBlob(Digest.parse(other), 5, "key")]
    assert await metadata.moves.misplaced(False, other) == []
    assert [await metadata.moves.misplaced_count(into) for into in (True, False)] == [1, 1]


async def test_what_is_left_of_a_plan_counts_from_when_it_was_kept(metadata: Metadata) -> None:
    await metadata.node.submit(PlanObject("key"))
    metadata.clock.advance(100)
    assert await metadata.node.submit(KeepPlan("key")) == Outcome()
    assert list(await metadata.sessions.leftovers(metadata.clock() - 50)) == []
    assert set(await metadata.sessions.leftovers(metadata.clock() + 1)) == PLANNED


async def test_a_plan_that_has_ended_is_not_kept(metadata: Metadata) -> None:
    """Else what a blob has would be left over."""
    await metadata.node.submit(LinkBlob(REPO, DIGEST, 7))
    await metadata.node.submit(PlanObject("key"))
    await metadata.node.submit(MoveBlob(DIGEST, "", "key"))
    assert await metadata.node.submit(KeepPlan("key")) == Outcome(changed=False)
    assert await left_over(metadata) == set()


async def test_a_note_follows_the_one_before(metadata: Metadata) -> None:
    assert await metadata.moves.move() is None
    assert await metadata.node.submit(NoteMove("", "first")) == Outcome()
    assert await metadata.node.submit(NoteMove("", "another first")) == Outcome(changed=False)
    assert await metadata.node.submit(NoteMove("first", "second")) == Outcome()
    assert await metadata.moves.move() == "second"
