"""SessionReader and the changes of upload sessions that are staged in an object store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.domain.changes import (
    BeginUpload,
    DeleteBlob,
    EndUpload,
    ForgetLeftovers,
    HoldUpload,
    LinkBlob,
    Outcome,
    SaveUpload,
)
from registry.domain.digest import Digest
from registry.domain.upload import ANY_MULTIPART, Leftover, StagedPart, UploadSession
from registry.errors import BlobUploadUnknown, UploadBusy
from registry.ports import BlobLink, StoredBlob
from tests.contracts.adapters import Metadata

REPO = "library/one"
DIGEST = str(Digest.of(b"content"))
FAR = 1e12


def session(name: str = "one", last_byte: float = 1000.0) -> UploadSession:
    return UploadSession(name, REPO, "sha256", f"blobs/{name}", last_byte)


def hold(name: str = "one", holder: str = "me", now: float = 0.0, until: float = 15.0) -> HoldUpload:
    return HoldUpload(name, REPO, holder, now, until)


async def held(metadata: Metadata, name: str = "one", holder: str = "me") -> UploadSession:
    await metadata.changes.submit(BeginUpload(session(name)))
    await metadata.changes.submit(hold(name, holder))
    found = await metadata.sessions.upload(name)
    assert found is not None
    return found


async def left_over(metadata: Metadata) -> set[Leftover]:
    return set(await metadata.sessions.leftovers(FAR))


class TestSession:
    async def test_is_kept_as_it_was_saved(self, metadata: Metadata) -> None:
        assert await metadata.sessions.upload("one") is None
        before = await held(metadata)
        assert before == replace(session(), holder="me", held_until=15.0)
        parts = (StagedPart('"etag-1"', 8_000_000), StagedPart("etag", 2**40))
        after = replace(
            before,
            offset=2**42,
            hash_state=b"\0\xff",
            multipart="m",
            parts=parts,
            tails=1,
            tail="blobs/one.1",
            tail_size=5,
        )
        await metadata.changes.submit(SaveUpload(after, "me"))
        assert await metadata.sessions.upload("one") == after
        assert await left_over(metadata) == set()

    async def test_beginning_twice_changes_nothing(self, metadata: Metadata) -> None:
        before = await held(metadata)
        await metadata.changes.submit(BeginUpload(session()))
        assert await metadata.sessions.upload("one") == before

    async def test_is_held_by_one_until_it_lets_go(self, metadata: Metadata) -> None:
        before = await held(metadata)
        with pytest.raises(UploadBusy):
            await metadata.changes.submit(hold(holder="other", now=14.0))
        await metadata.changes.submit(hold(holder="me", now=14.0, until=30.0))
        with pytest.raises(UploadBusy):
            await metadata.changes.submit(hold(holder="other", now=20.0))
        await metadata.changes.submit(SaveUpload(replace(before, holder="", held_until=0.0), "me"))
        await metadata.changes.submit(hold(holder="other", now=20.0, until=35.0))

    async def test_whoever_lost_it_changes_nothing_any_more(self, metadata: Metadata) -> None:
        mine = await held(metadata)
        await metadata.changes.submit(hold(holder="other", now=16.0, until=31.0))
        for change in (
            SaveUpload(replace(mine, offset=5), "me"),
            EndUpload("one", "me"),
            LinkBlob(REPO, DIGEST, 7, "blobs/one", "one", "me"),
        ):
            with pytest.raises(BlobUploadUnknown):
                await metadata.changes.submit(change)
        assert await metadata.reader.blob(REPO, DIGEST) is None
        found = await metadata.sessions.upload("one")
        assert found is not None
        assert (found.offset, found.holder) == (0, "other")

    async def test_whoever_takes_over_writes_nothing_that_the_other_may_still_write(self, metadata: Metadata) -> None:
        mine = await held(metadata)
        await metadata.changes.submit(hold(holder="other", now=16.0, until=31.0))
        found = await metadata.sessions.upload("one")
        assert found is not None
        assert found.next_tail != mine.next_tail
        assert await left_over(metadata) == {Leftover(mine.next_tail)}

    async def test_of_another_repository_is_unknown(self, metadata: Metadata) -> None:
        await metadata.changes.submit(BeginUpload(session()))
        with pytest.raises(BlobUploadUnknown):
            await metadata.changes.submit(HoldUpload("one", "library/other", "me", 0.0, 1.0))
        with pytest.raises(BlobUploadUnknown):
            await metadata.changes.submit(hold("absent"))

    async def test_idle_and_active_ones(self, metadata: Metadata) -> None:
        for name, last_byte in (("old", 10.0), ("older", 5.0), ("fresh", 100.0), ("held", 10.0)):
            await metadata.changes.submit(BeginUpload(replace(session(name, last_byte), repository=f"repo/{name}")))
        await metadata.changes.submit(HoldUpload("held", "repo/held", "me", 90.0, 105.0))
        assert [found.id for found in await metadata.sessions.idle_uploads(50.0)] == ["older", "old"]
        assert await metadata.sessions.uploading_repositories(50.0) == {"repo/fresh", "repo/held"}


class TestLeftovers:
    async def test_of_a_session_that_ended_without_a_blob(self, metadata: Metadata) -> None:
        before = await held(metadata)
        await metadata.changes.submit(SaveUpload(replace(before, tails=2, tail="blobs/one.2", tail_size=5), "me"))
        await metadata.changes.submit(EndUpload("one", "me"))
        assert await metadata.sessions.upload("one") is None
        names = {Leftover(f"blobs/one{end}") for end in ("", ".2", ".3")} | {Leftover("blobs/one", ANY_MULTIPART)}
        assert await left_over(metadata) == names
        assert await metadata.changes.submit(EndUpload("one", "me")) == Outcome(changed=False)

    async def test_of_a_tail_that_was_replaced(self, metadata: Metadata) -> None:
        before = await held(metadata)
        for tails in (1, 2):
            await metadata.changes.submit(
                SaveUpload(replace(before, tails=tails, tail=f"blobs/one.{tails}", tail_size=5), "me")
            )
        assert await left_over(metadata) == {Leftover("blobs/one.1")}

    async def test_of_a_session_that_became_a_blob(self, metadata: Metadata) -> None:
        before = await held(metadata)
        await metadata.changes.submit(SaveUpload(replace(before, multipart="m", tails=1, tail="blobs/one.1"), "me"))
        link = LinkBlob(REPO, DIGEST, 7, "blobs/one", "one", "me")
        await metadata.changes.submit(link)
        assert await metadata.sessions.upload("one") is None
        assert await left_over(metadata) == {Leftover("blobs/one.1")}
        assert await metadata.reader.blob(REPO, DIGEST) == BlobLink(7, metadata.clock(), "blobs/one")
        assert await metadata.reader.stored(DIGEST) == StoredBlob(Digest.parse(DIGEST), 7, "blobs/one")
        await metadata.changes.submit(link)  # the answer was lost, and it is submitted again
        assert await left_over(metadata) == {Leftover("blobs/one.1")}

    async def test_of_a_blob_that_was_pushed_again(self, metadata: Metadata) -> None:
        """The newer object takes over: it is the one that was just verified."""
        for name in ("one", "two"):
            await held(metadata, name)
            await metadata.changes.submit(LinkBlob(REPO, DIGEST, 7, f"blobs/{name}", name, "me"))
        found = await metadata.reader.blob(REPO, DIGEST)
        assert found is not None
        assert found.location == "blobs/two"
        assert Leftover("blobs/one") in await left_over(metadata)

    async def test_of_a_blob_that_was_deleted(self, metadata: Metadata) -> None:
        await held(metadata)
        await metadata.changes.submit(LinkBlob(REPO, DIGEST, 7, "blobs/one", "one", "me"))
        assert (await metadata.changes.submit(DeleteBlob(REPO, DIGEST))).digests == (DIGEST,)
        assert Leftover("blobs/one") in await left_over(metadata)
        assert list(await metadata.reader.garbage()) == []

    async def test_of_a_file_that_became_an_object_and_back(self, metadata: Metadata) -> None:
        await metadata.changes.submit(LinkBlob(REPO, DIGEST, 7))
        await held(metadata)
        await metadata.changes.submit(LinkBlob(REPO, DIGEST, 7, "blobs/one", "one", "me"))
        assert list(await metadata.reader.garbage()) == [DIGEST]
        await metadata.changes.submit(LinkBlob(REPO, DIGEST, 7))
        assert list(await metadata.reader.garbage()) == []
        assert Leftover("blobs/one") in await left_over(metadata)

    async def test_are_forgotten_when_they_are_removed(self, metadata: Metadata) -> None:
        await held(metadata)
        await metadata.changes.submit(EndUpload("one", "me"))
        assert list(await metadata.sessions.leftovers(metadata.clock())) == []
        found = await metadata.sessions.leftovers(metadata.clock() + 1)
        await metadata.node.submit(ForgetLeftovers(tuple(found)))
        assert await left_over(metadata) == set()
