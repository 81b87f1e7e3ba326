"""UploadStore, UploadWriter and BlobStore."""

from __future__ import annotations

import hashlib
import random
import uuid

import pytest

from registry.domain.digest import ALGORITHMS, Digest
from registry.domain.upload import UploadState
from registry.errors import BlobUnknown, BlobUploadUnknown, StorageFailure, StorageFull, UploadBusy
from registry.ports import AbandonedUpload, StoredBlob
from tests.contracts.adapters import Stores, StoresByDigest
from tests.harness.blobs import content_of

REPO = "library/one"
CONTENT = b"some bytes of a layer" * 1000
DIGEST = Digest.of(CONTENT)


async def begun(stores: Stores, content: bytes = b"", repository: str = REPO, algorithm: str = "sha256") -> str:
    state = await stores.uploads.begin(repository, algorithm)
    if content:
        async with stores.uploads.open(repository, state.id) as upload:
            await upload.write([content])
            await upload.checkpoint()
    return state.id


async def publish(stores: Stores, content: bytes = CONTENT, algorithm: str = "sha256") -> Digest:
    digest = Digest.of(content, algorithm)
    upload_id = await begun(stores, content, algorithm=algorithm)
    async with stores.uploads.open(REPO, upload_id) as upload:
        await upload.publish(digest)
        await upload.complete()
    return digest


async def read(stores: Stores, digest: Digest, size: int, location: str = "") -> bytes:
    blob = await stores.blobs.open(StoredBlob(digest, size, location))
    try:
        assert blob.size == size
        return await content_of(blob, size + 100)
    finally:
        blob.close()


class TestSession:
    @pytest.fixture
    def stores(self, any_stores: Stores) -> Stores:
        return any_stores

    async def test_begins_empty_with_an_id_of_its_own(self, stores: Stores) -> None:
        first, second = await stores.uploads.begin(REPO, "sha256"), await stores.uploads.begin(REPO, "sha512")
        assert first == UploadState(first.id, REPO, "sha256", 0)
        assert second.algorithm == "sha512"
        assert uuid.UUID(first.id) != uuid.UUID(second.id)
        assert await stores.uploads.state(REPO, first.id) == first

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_goes_on_over_several_requests(self, stores: Stores, algorithm: str) -> None:
        upload_id = await begun(stores, algorithm=algorithm)
        offset = 0
        for size in (1, 63, 64, 65, 1000, 127, 128, 129):
            async with stores.uploads.open(REPO, upload_id) as upload:
                assert upload.state == UploadState(upload_id, REPO, algorithm, offset)
                await upload.write([CONTENT[offset : offset + 1], CONTENT[offset + 1 : offset + size]])
                offset += size
                assert await upload.checkpoint() == UploadState(upload_id, REPO, algorithm, offset)
            assert (await stores.uploads.state(REPO, upload_id)).offset == offset
        async with stores.uploads.open(REPO, upload_id) as upload:
            await upload.write([CONTENT[offset:]])
            found = await upload.digest()
            assert found.hex == hashlib.new(algorithm, CONTENT).hexdigest()
            link = await upload.publish(found)
            await stores.link(link)
            await upload.complete()
        with pytest.raises(BlobUploadUnknown):
            await stores.uploads.state(REPO, upload_id)
        assert await read(stores, found, len(CONTENT), link.location) == CONTENT

    async def test_what_was_not_told_to_the_client_is_forgotten(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"told")
        async with stores.uploads.open(REPO, upload_id) as upload:
            await upload.write([b"not told, and longer"])
        async with stores.uploads.open(REPO, upload_id) as upload:
            assert upload.state.offset == 4
            await upload.write([b"!"])
            assert await upload.digest() == Digest.of(b"told!")
            link = await upload.publish(Digest.of(b"told!"))
            await stores.link(link)
            await upload.complete()
        assert await read(stores, Digest.of(b"told!"), 5, link.location) == b"told!"

    async def test_the_algorithm_can_change_at_any_offset(self, stores: Stores) -> None:
        upload_id = await begun(stores, CONTENT[:500])
        async with stores.uploads.open(REPO, upload_id) as upload:
            upload.rehash_with("sha512")
            await upload.write([CONTENT[500:600]])
            await upload.checkpoint()
        async with stores.uploads.open(REPO, upload_id) as upload:
            assert upload.state == UploadState(upload_id, REPO, "sha512", 600)
            upload.rehash_with("sha512")
            await upload.write([CONTENT[600:]])
            assert await upload.digest() == Digest.of(CONTENT, "sha512")

    @pytest.mark.parametrize("upload_id", ["", "nonsense", "../../lock", str(uuid.uuid4()), "a" * 36, "é" * 36])
    async def test_of_an_unknown_id(self, stores: Stores, upload_id: str) -> None:
        with pytest.raises(BlobUploadUnknown):
            await stores.uploads.state(REPO, upload_id)
        with pytest.raises(BlobUploadUnknown):
            async with stores.uploads.open(REPO, upload_id):
                pass

    async def test_belongs_to_its_repository(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"abc")
        with pytest.raises(BlobUploadUnknown):
            await stores.uploads.state("library/other", upload_id)
        with pytest.raises(BlobUploadUnknown):
            async with stores.uploads.open("library/other", upload_id):
                pass

    async def test_is_held_by_one_at_a_time(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"abc")
        async with stores.uploads.open(REPO, upload_id) as upload:
            await upload.write([b"def"])
            with pytest.raises(UploadBusy):
                async with stores.uploads.open(REPO, upload_id):
                    pass
            assert (await stores.uploads.state(REPO, upload_id)).offset == 3
            await upload.checkpoint()
        assert (await stores.uploads.state(REPO, upload_id)).offset == 6

    async def test_while_held_it_still_belongs_to_its_repository(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"abc")
        async with stores.uploads.open(REPO, upload_id):
            with pytest.raises(BlobUploadUnknown):
                await stores.uploads.state("library/other", upload_id)
            with pytest.raises(BlobUploadUnknown):
                async with stores.uploads.open("library/other", upload_id):
                    pass

    async def test_is_gone_once_discarded(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"abc")
        async with stores.uploads.open(REPO, upload_id) as upload:
            await upload.discard()
        with pytest.raises(BlobUploadUnknown):
            await stores.uploads.state(REPO, upload_id)
        assert [found async for found in stores.uploads.abandoned(stores.now() + 1000)] == []

    async def test_a_full_disk(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"abc")
        full = stores.full()
        with pytest.raises(StorageFull):
            await full.begin(REPO, "sha256")
        async with full.open(REPO, upload_id) as upload:
            with pytest.raises(StorageFull):
                await upload.write([b"more"])


class TestBlobs:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.parametrize("content", [b"", b"x", CONTENT])
    async def test_are_there_once_published(self, stores: Stores, algorithm: str, content: bytes) -> None:
        digest = Digest.of(content, algorithm)
        assert not await stores.blobs.intact(StoredBlob(digest, len(content)))
        assert await publish(stores, content, algorithm) == digest
        assert await stores.blobs.intact(StoredBlob(digest, len(content)))
        assert not await stores.blobs.intact(StoredBlob(digest, len(content) + 1))
        assert await read(stores, digest, len(content)) == content

    async def test_publishing_again_heals_what_was_damaged(self, stores: StoresByDigest) -> None:
        await publish(stores)
        stores.damage(DIGEST, b"short")
        assert not await stores.blobs.intact(StoredBlob(DIGEST, len(CONTENT)))
        await publish(stores)
        assert await read(stores, DIGEST, len(CONTENT)) == CONTENT

    async def test_that_are_absent(self, stores: Stores) -> None:
        with pytest.raises(BlobUnknown):
            await stores.blobs.open(StoredBlob(DIGEST, 3))
        await stores.blobs.remove(DIGEST)

    async def test_that_are_too_short_open_with_the_size_they_should_have(self, stores: StoresByDigest) -> None:
        """So that whoever reads them finds out, and cuts the transfer."""
        await publish(stores)
        stores.damage(DIGEST, b"short")
        assert await read(stores, DIGEST, len(CONTENT)) == b"short"

    async def test_that_are_too_long_do_not_open(self, stores: Stores) -> None:
        await publish(stores)
        with pytest.raises(StorageFailure):
            await stores.blobs.open(StoredBlob(DIGEST, len(CONTENT) - 1))

    async def test_are_gone_once_removed_but_open_ones_can_be_read_to_the_end(self, stores: Stores) -> None:
        await publish(stores)
        blob = await stores.blobs.open(StoredBlob(DIGEST, len(CONTENT)))
        await stores.blobs.remove(DIGEST)
        await stores.blobs.remove(DIGEST)
        assert await content_of(blob, len(CONTENT)) == CONTENT
        blob.close()
        assert not await stores.blobs.intact(StoredBlob(DIGEST, len(CONTENT)))
        with pytest.raises(BlobUnknown):
            await stores.blobs.open(StoredBlob(DIGEST, len(CONTENT)))


class TestAbandoned:
    async def test_are_found_by_their_last_byte_and_cleared_up(self, stores: Stores) -> None:
        old, fresh, untouched = await begun(stores, b"old"), await begun(stores, b"fresh"), await begun(stores)
        for upload_id in (old, untouched):
            stores.age(upload_id, 1000)
        found = [item async for item in stores.uploads.abandoned(stores.now() - 500)]
        assert sorted(found, key=lambda item: item.upload_id) == sorted(
            [AbandonedUpload(old, None), AbandonedUpload(untouched, None)], key=lambda item: item.upload_id
        )
        for upload_id in (old, untouched):
            with pytest.raises(BlobUploadUnknown):
                await stores.uploads.state(REPO, upload_id)
        assert (await stores.uploads.state(REPO, fresh)).offset == 5

    async def test_a_byte_keeps_a_session_alive_without_a_checkpoint(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"old")
        stores.age(upload_id, 1000)
        async with stores.uploads.open(REPO, upload_id) as upload:
            await upload.write([b"more"])
        assert [item async for item in stores.uploads.abandoned(stores.now() - 500)] == []

    async def test_a_session_that_is_held_is_left_alone(self, stores: Stores) -> None:
        upload_id = await begun(stores, b"old")
        async with stores.uploads.open(REPO, upload_id):
            stores.age(upload_id, 1000)
            assert [item async for item in stores.uploads.abandoned(stores.now() - 500)] == []

    async def test_a_session_that_goes_on_while_others_are_cleared_up_is_left_alone(self, stores: Stores) -> None:
        both = [await begun(stores, b"old") for _ in range(2)]
        for upload_id in both:
            stores.age(upload_id, 1000)
        cleared = []
        async for item in stores.uploads.abandoned(stores.now() - 500):
            cleared.append(item.upload_id)
            for other in set(both) - set(cleared):
                async with stores.uploads.open(REPO, other) as upload:
                    await upload.write([b"I am back"])
                    await upload.checkpoint()
        assert len(cleared) == 1
        (alive,) = set(both) - set(cleared)
        assert (await stores.uploads.state(REPO, alive)).offset == len(b"oldI am back")

    async def test_says_which_blob_a_session_was_about_to_become(self, stores: Stores) -> None:
        upload_id = await begun(stores, CONTENT)
        async with stores.uploads.open(REPO, upload_id) as upload:
            await upload.publish(DIGEST)
        stores.age(upload_id, 1000)
        found = [item async for item in stores.uploads.abandoned(stores.now() - 500)]
        assert found == [AbandonedUpload(upload_id, DIGEST)]

    async def test_a_session_that_was_publishing_is_not_forgotten_by_its_client(self, stores: Stores) -> None:
        """Its blob has no row yet: whoever clears up has to find it, whatever the client does to the session."""
        upload_id = await begun(stores, CONTENT)
        async with stores.uploads.open(REPO, upload_id) as upload:
            await upload.publish(DIGEST)
            await upload.discard()
        with pytest.raises(BlobUploadUnknown):
            async with stores.uploads.open(REPO, upload_id):
                pass
        stores.age(upload_id, 1000)
        found = [item async for item in stores.uploads.abandoned(stores.now() - 500)]
        assert found == [AbandonedUpload(upload_id, DIGEST)]

    async def test_active_repositories(self, stores: Stores) -> None:
        for number, repository in enumerate(("old", "fresh", "held", "both", "both")):
            upload_id = await begun(stores, b"x", repository)
            if number in (0, 2, 3):
                stores.age(upload_id, 1000)
            if repository == "held":
                held = upload_id
        since = stores.now() - 500
        assert await stores.uploads.active_repositories(since) == {"fresh", "both"}
        async with stores.uploads.open("held", held):
            stores.age(held, 1000)
            assert await stores.uploads.active_repositories(since) == {"fresh", "both", "held"}


async def test_random_sessions_give_the_digest_of_what_was_written(any_stores: Stores) -> None:
    stores = any_stores
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(20):
        written = b""
        upload_id = await begun(stores)
        for _ in range(chance.randrange(1, 6)):
            async with stores.uploads.open(REPO, upload_id) as upload:
                assert upload.state.offset == len(written)
                chunks = [chance.randbytes(chance.randrange(300)) for _ in range(chance.randrange(4))]
                await upload.write(chunks)
                if chance.random() < 0.8:
                    await upload.checkpoint()
                    written += b"".join(chunks)
        async with stores.uploads.open(REPO, upload_id) as upload:
            assert await upload.digest() == Digest.of(written)
            link = await upload.publish(Digest.of(written))
            await stores.link(link)
            await upload.complete()
        assert await read(stores, Digest.of(written), len(written), link.location) == written
