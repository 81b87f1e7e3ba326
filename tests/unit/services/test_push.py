"""Pushing blobs and manifests over the fakes."""

from collections.abc import AsyncIterator, Sequence

import pytest

from registry.domain.changes import LinkBlob
from registry.domain.digest import Digest
from registry.domain.upload import ChunkRange
from registry.errors import (
    BlobUploadUnknown,
    ClientGone,
    DigestInvalid,
    SizeInvalid,
    StorageFull,
    UploadBusy,
    UploadRangeInvalid,
)
from tests.harness.content import Blob, small_image
from tests.unit.services.node import OTHER, REPO, MemoryNode, body

BLOB = Blob(b"0123456789")
DIGEST = Digest.parse(BLOB.digest)


async def interrupted() -> AsyncIterator[Sequence[bytes]]:
    yield [b"0123"]
    raise ClientGone("gone")


async def test_a_chunk_out_of_order_leaves_the_session_as_it_was(node: MemoryNode) -> None:
    state = await node.push.begin(REPO, "sha256")
    await node.push.append(REPO, state.id, body(b"0123"), ChunkRange(0, 3), 4)
    for wrong in (ChunkRange(0, 3), ChunkRange(5, 8), ChunkRange(3, 6)):
        with pytest.raises(UploadRangeInvalid) as refusal:
            await node.push.append(REPO, state.id, body(b"xxxx"), wrong, 4)
        assert refusal.value.offset == 4
        with pytest.raises(UploadRangeInvalid):
            await node.push.finish(REPO, state.id, DIGEST, body(b"xxxx"), wrong, 4)
    await node.push.finish(REPO, state.id, DIGEST, body(b"456789"), ChunkRange(4, 9), 6)
    assert node.blobs.contents == {DIGEST: BLOB.content}


@pytest.mark.parametrize("sent", [b"456", b"45678"])
async def test_a_body_of_another_length_than_its_range_is_forgotten(node: MemoryNode, sent: bytes) -> None:
    state = await node.push.begin(REPO, "sha256")
    await node.push.append(REPO, state.id, body(b"0123"), None, None)
    with pytest.raises(SizeInvalid):
        await node.push.append(REPO, state.id, body(sent), ChunkRange(4, 7), None)
    assert (await node.push.status(REPO, state.id)).offset == 4


async def test_what_came_before_the_client_went_is_kept(node: MemoryNode) -> None:
    state = await node.push.begin(REPO, "sha256")
    with pytest.raises(ClientGone):
        await node.push.append(REPO, state.id, interrupted(), ChunkRange(0, 9), 10)
    assert (await node.push.status(REPO, state.id)).offset == 4
    with pytest.raises(ClientGone):
        await node.push.finish(REPO, (await node.push.begin(REPO, "sha256")).id, DIGEST, interrupted(), None, 10)
    await node.push.finish(REPO, state.id, DIGEST, body(b"456789"), None, None)
    assert await node.pull.blob_size(REPO, DIGEST) == 10


async def test_a_wrong_digest_leaves_nothing_and_the_session_goes_on(node: MemoryNode) -> None:
    state = await node.push.begin(REPO, "sha256")
    await node.push.append(REPO, state.id, body(b"0123"), None, None)
    with pytest.raises(DigestInvalid):
        await node.push.finish(REPO, state.id, DIGEST, body(b"other"), None, None)
    assert node.blobs.contents == {}
    assert not [change for change in node.changes.submitted if isinstance(change, LinkBlob)]
    assert (await node.push.status(REPO, state.id)).offset == 4
    await node.push.finish(REPO, state.id, DIGEST, body(b"456789"), None, None)


async def test_at_once_leaves_no_session_whatever_happens(node: MemoryNode) -> None:
    await node.push.push_at_once(REPO, DIGEST, body(BLOB.content))
    with pytest.raises(DigestInvalid):
        await node.push.push_at_once(REPO, DIGEST, body(b"other"))
    with pytest.raises(ClientGone):
        await node.push.push_at_once(REPO, DIGEST, interrupted())
    assert node.uploads.sessions == {}


async def test_a_full_disk_ends_the_session(node: MemoryNode) -> None:
    state = await node.push.begin(REPO, "sha256")
    node.uploads.room = 3
    with pytest.raises(StorageFull):
        await node.push.append(REPO, state.id, body(BLOB.content), None, None)
    with pytest.raises(BlobUploadUnknown):
        await node.push.status(REPO, state.id)
    node.uploads.room = 0
    with pytest.raises(StorageFull):
        await node.push.begin(REPO, "sha256")


async def test_one_request_at_a_time(node: MemoryNode) -> None:
    state = await node.push.begin(REPO, "sha256")

    async def meanwhile() -> AsyncIterator[Sequence[bytes]]:
        yield [b"0123456789"]
        with pytest.raises(UploadBusy):
            await node.push.append(REPO, state.id, body(b"x"), None, None)
        with pytest.raises(UploadBusy):
            await node.push.cancel(REPO, state.id)

    await node.push.finish(REPO, state.id, DIGEST, meanwhile(), None, None)
    assert await node.pull.blob_size(REPO, DIGEST) == 10


async def test_sha512_that_nobody_announced(node: MemoryNode) -> None:
    digest = Digest.of(BLOB.content, "sha512")
    state = await node.push.begin(REPO, "sha256")
    await node.push.append(REPO, state.id, body(b"0123"), None, None)
    await node.push.finish(REPO, state.id, digest, body(b"456789"), None, None)
    assert node.blobs.contents == {digest: BLOB.content}


async def test_mounts(node: MemoryNode) -> None:
    await node.push_blob(BLOB, OTHER)
    assert await node.push.mount(REPO, DIGEST, OTHER)
    assert await node.push.mount("third", DIGEST, None)
    assert not await node.push.mount("fourth", DIGEST, "empty")
    assert not await node.push.mount("fourth", Digest.of(b"absent"), None)
    assert await node.pull.blob_size("third", DIGEST) == 10


async def test_a_damaged_blob_is_not_mounted_so_that_the_client_heals_it(node: MemoryNode) -> None:
    await node.push_blob(BLOB, OTHER)
    node.blobs.contents[DIGEST] = b"short"
    assert not await node.push.mount(REPO, DIGEST, OTHER)
    await node.push_blob(BLOB)
    assert await node.pull.blob_size(OTHER, DIGEST) == 10


async def test_a_manifest_by_tag_by_digest_and_by_several_tags(node: MemoryNode) -> None:
    item = small_image()
    await node.push_image(item)
    content, kind = item.manifest.content, item.manifest.media_type
    await node.manifests.put(REPO, "a", ("b", "a", "c"), content, kind)
    await node.manifests.put(REPO, Digest.of(content, "sha512"), ("d", "d"), content, kind)
    assert list((await node.discovery.tags(REPO, "", None)).entries) == ["a", "b", "c", "d"]
    assert (await node.pull.manifest(REPO, "a")).digest == item.digest
    assert (await node.pull.manifest(REPO, "d")).digest == str(Digest.of(content, "sha512"))
    with pytest.raises(DigestInvalid):
        await node.manifests.put(REPO, Digest.of(b"other"), (), content, kind)
