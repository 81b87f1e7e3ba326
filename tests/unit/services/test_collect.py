"""The collector: what it takes, what it spares, and whom it races."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from registry.domain.changes import Change, LinkBlob, Outcome
from registry.domain.digest import Digest
from registry.errors import BlobUploadUnknown, StorageFailure
from registry.services.collect import Collected
from registry.services.push import PushService
from registry.storage.memory.uploads import MemoryUpload
from tests.harness.content import Blob, small_image
from tests.unit.services.node import EXPIRE_AFTER, GRACE, OTHER, REPO, MemoryNode, body

BLOB = Blob(b"some layer")
DIGEST = Digest.parse(BLOB.digest)


async def test_a_blob_that_nothing_needs_goes_after_the_grace_time(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    node.clock.advance(GRACE - 1)
    assert await node.collector.collect() == Collected(uploads=0, blobs=0)
    assert node.has_bytes(BLOB)
    node.clock.advance(2)
    assert await node.collector.collect() == Collected(uploads=0, blobs=1)
    assert not node.has_bytes(BLOB)
    assert await node.metadata.blob(REPO, BLOB.digest) is None
    assert list(await node.metadata.garbage()) == []


async def test_what_a_manifest_needs_stays_for_ever(node: MemoryNode) -> None:
    item = small_image()
    await node.push_image(item, "latest")
    node.clock.advance(100 * GRACE)
    assert await node.collector.collect() == Collected(0, 0)
    assert all(map(node.has_bytes, item.blobs))


async def test_after_its_manifest_is_gone_a_blob_has_the_grace_time_from_then(node: MemoryNode) -> None:
    item = small_image()
    digest = await node.push_image(item, "latest")
    node.clock.advance(100 * GRACE)
    await node.manifests.delete(REPO, digest)
    node.clock.advance(GRACE - 1)
    assert (await node.collector.collect()).blobs == 0
    node.clock.advance(2)
    assert (await node.collector.collect()).blobs == 2


async def test_bytes_stay_while_another_repository_has_the_blob(node: MemoryNode) -> None:
    item = small_image()
    await node.push_image(item, "latest", OTHER)
    await node.push_blob(item.config)
    node.clock.advance(GRACE + 1)
    assert await node.collector.collect() == Collected(0, 0)
    assert await node.metadata.blob(REPO, item.config.digest) is None
    assert node.has_bytes(item.config)


async def test_an_upload_that_runs_spares_the_blobs_of_its_repository(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    await node.push_blob(Blob(b"another"), OTHER)
    node.clock.advance(GRACE + 1)
    state = await node.push.begin(REPO, "sha256")
    assert (await node.collector.collect()).blobs == 1
    assert node.has_bytes(BLOB)
    await node.push.cancel(REPO, state.id)
    assert (await node.collector.collect()).blobs == 1
    assert not node.has_bytes(BLOB)


async def test_an_upload_goes_some_time_after_its_last_byte(node: MemoryNode) -> None:
    state = await node.push.begin(REPO, "sha256")
    for _ in range(5):
        node.clock.advance(EXPIRE_AFTER - 1)
        await node.push.append(REPO, state.id, body(b"x"), None, None)
        assert (await node.collector.collect()).uploads == 0
    node.clock.advance(EXPIRE_AFTER + 1)
    assert (await node.collector.collect()).uploads == 1
    with pytest.raises(BlobUploadUnknown):
        await node.push.status(REPO, state.id)


async def test_a_request_that_still_sends_keeps_its_session(node: MemoryNode) -> None:
    state = await node.push.begin(REPO, "sha256")

    async def slow() -> AsyncIterator[Sequence[bytes]]:
        for _ in range(5):
            yield [b"x"]
            node.clock.advance(10 * EXPIRE_AFTER)
            assert (await node.collector.collect()).uploads == 0

    await node.push.append(REPO, state.id, slow(), None, None)
    assert (await node.push.status(REPO, state.id)).offset == 5


async def test_garbage_that_was_linked_again_is_garbage_no_more(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    await node.manifests.delete_blob(REPO, DIGEST)
    await node.push_blob(BLOB)
    assert list(await node.metadata.garbage()) == []
    await node.collector.collect()
    assert node.has_bytes(BLOB)


async def test_garbage_that_is_leased_waits_for_the_next_round(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    await node.manifests.delete_blob(REPO, DIGEST)
    async with node.leases.hold(DIGEST):
        assert (await node.collector.collect()).blobs == 0
        assert node.has_bytes(BLOB)
    assert (await node.collector.collect()).blobs == 1
    assert not node.has_bytes(BLOB)


async def test_many_blobs_go_in_one_round(node: MemoryNode) -> None:
    for number in range(1203):
        await node.push_blob(Blob(b"%d" % number))
    node.clock.advance(GRACE + 1)
    assert (await node.collector.collect()).blobs == 1203
    assert node.blobs.contents == {}


async def test_a_blob_published_before_its_link_failed_is_cleared_up(node: MemoryNode) -> None:
    """The bytes are in their place and no row names them: only the session can tell."""

    class Failing:
        async def submit(self, change: Change) -> Outcome:
            raise StorageFailure("the database failed")

    push = PushService(node.uploads, node.blobs, node.metadata, Failing(), node.leases)
    with pytest.raises(StorageFailure):
        await push.push_at_once(REPO, DIGEST, body(BLOB.content))
    assert node.has_bytes(BLOB)
    node.clock.advance(EXPIRE_AFTER + GRACE + 1)
    await node.collector.collect()
    await node.collector.collect()
    assert not node.has_bytes(BLOB)


@pytest.mark.parametrize("turns", range(12))
async def test_a_push_that_races_with_the_collector_never_leaves_a_blob_without_bytes(
    node: MemoryNode, turns: int
) -> None:
    """The collector begins at each step of the push in turn; the digest was garbage before."""
    await node.push_blob(BLOB)
    await node.manifests.delete_blob(REPO, DIGEST)

    class Slow:
        async def submit(self, change: Change) -> Outcome:
            for _ in range(5):
                await asyncio.sleep(0)
            return await node.metadata.submit(change)

    push = PushService(node.uploads, node.blobs, node.metadata, Slow(), node.leases)
    pushing = asyncio.create_task(push.push_at_once(REPO, DIGEST, body(BLOB.content)))
    for _ in range(turns):
        await asyncio.sleep(0)
    await node.collector.collect()
    await pushing
    assert await node.pull.blob_size(REPO, DIGEST) == BLOB.size
    await node.collector.collect()
    assert await node.pull.blob_size(REPO, DIGEST) == BLOB.size


async def test_an_abandoned_session_does_not_take_the_blob_that_another_completed(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(_upload: MemoryUpload) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MemoryUpload, "complete", die)
        patch.setattr(MemoryUpload, "discard", die)
        with pytest.raises(KeyboardInterrupt):
            await node.push.push_at_once(REPO, DIGEST, body(BLOB.content))
    assert [change for change in node.changes.submitted if isinstance(change, LinkBlob)]
    node.clock.advance(EXPIRE_AFTER + 1)
    assert (await node.collector.collect()).uploads == 1
    assert await node.pull.blob_size(REPO, DIGEST) == BLOB.size
