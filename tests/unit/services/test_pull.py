"""Pulling over the fakes."""

import pytest

from registry.domain.changes import KeepBlob
from registry.domain.digest import Digest
from registry.domain.manifest import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX
from registry.errors import BlobUnknown, ManifestUnknown
from tests.harness.blobs import content_of
from tests.harness.content import Blob, index, small_image
from tests.unit.services.node import GRACE, OTHER, REPO, MemoryNode

BLOB = Blob(b"some layer")
DIGEST = Digest.parse(BLOB.digest)


def renewals(node: MemoryNode) -> int:
    return sum(isinstance(change, KeepBlob) for change in node.changes.submitted)


async def test_who_was_told_that_a_blob_is_there_can_count_on_it(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    for _ in range(10):
        node.clock.advance(GRACE * 0.9)
        assert await node.pull.blob_size(REPO, DIGEST) == BLOB.size
        await node.collector.collect()
    node.clock.advance(GRACE + 1)
    await node.collector.collect()
    with pytest.raises(BlobUnknown):
        await node.pull.blob_size(REPO, DIGEST)


async def test_the_grace_time_is_not_renewed_at_every_question(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    for _ in range(10):
        await node.pull.blob_size(REPO, DIGEST)
    assert renewals(node) == 0
    node.clock.advance(GRACE * 0.6)
    for _ in range(10):
        await node.pull.blob_size(REPO, DIGEST)
    assert renewals(node) == 1


async def test_a_needed_blob_is_never_renewed(node: MemoryNode) -> None:
    item = small_image()
    await node.push_image(item)
    node.clock.advance(100 * GRACE)
    await node.pull.blob_size(REPO, Digest.parse(item.config.digest))
    assert renewals(node) == 0


async def test_a_damaged_blob_counts_as_absent_until_it_is_pushed_again(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    node.blobs.contents[DIGEST] = BLOB.content[:-1]
    with pytest.raises(BlobUnknown):
        await node.pull.blob_size(REPO, DIGEST)
    await node.push_blob(BLOB)
    assert await node.pull.blob_size(REPO, DIGEST) == BLOB.size


async def test_blobs_are_opened_with_the_size_of_their_row(node: MemoryNode) -> None:
    await node.push_blob(BLOB)
    node.blobs.contents[DIGEST] = b"short"
    blob = await node.pull.open_blob(REPO, DIGEST)
    try:
        assert (blob.size, await content_of(blob, 100)) == (BLOB.size, b"short")
    finally:
        blob.close()


async def test_blobs_and_manifests_belong_to_their_repository(node: MemoryNode) -> None:
    item = small_image()
    digest = await node.push_image(item, "latest")
    with pytest.raises(BlobUnknown):
        await node.pull.open_blob(OTHER, Digest.parse(item.config.digest))
    for reference in ("latest", digest):
        assert (await node.pull.manifest(REPO, reference)).content == item.manifest.content
        with pytest.raises(ManifestUnknown):
            await node.pull.manifest(OTHER, reference)


@pytest.mark.parametrize(
    ("accepted", "served"),
    [
        ([], "index"),
        (["*/*"], "index"),
        ([OCI_INDEX], "index"),
        ([DOCKER_LIST, DOCKER_IMAGE], "index"),
        ([OCI_INDEX, OCI_IMAGE], "index"),
        (["text/html"], "index"),
        (["application/json", "text/plain"], "index"),
        ([DOCKER_IMAGE], "image"),
        ([OCI_IMAGE], "image"),
        ([OCI_IMAGE, DOCKER_IMAGE, "application/json"], "image"),
        ([DOCKER_IMAGE, "*/*"], "index"),
    ],
)
async def test_a_client_that_knows_no_index_gets_the_image_for_amd64(
    node: MemoryNode, accepted: list[str], served: str
) -> None:
    arm, amd = small_image(1, architecture="arm64"), small_image(2)
    listing = index(arm, amd)
    for item in (arm, amd):
        await node.push_image(item)
    await node.put(listing.manifest, "latest")
    found = await node.pull.for_client(REPO, await node.pull.manifest(REPO, "latest"), accepted)
    assert found.digest == (listing.digest if served == "index" else amd.digest)


async def test_where_there_is_no_such_image_the_index_is_served(node: MemoryNode) -> None:
    arm = small_image(1, architecture="arm64")
    listing = index(arm)
    await node.push_image(arm)
    await node.put(listing.manifest, "latest")
    found = await node.pull.for_client(REPO, await node.pull.manifest(REPO, "latest"), [OCI_IMAGE])
    assert found.digest == listing.digest
