"""What repositories may take: the same in every database."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from registry.domain.access import LIMIT, encode
from registry.domain.changes import DeleteManifest, DeleteTag, LinkBlob, MountBlob, PutManifest, SetRecord
from registry.domain.digest import Digest
from registry.domain.limits import Limit
from registry.domain.manifest import OCI_INDEX, Manifest, parse
from registry.errors import LimitReached
from tests.contracts.adapters import Metadata
from tests.harness.content import small_image

BLOBS = [str(Digest.of(bytes([number]))) for number in range(8)]


async def limit(metadata: Metadata, pattern: str, **what: object) -> None:
    made = Limit(pattern, **what)  # type: ignore[arg-type]
    await metadata.changes.submit(SetRecord(LIMIT, pattern, encode(made)))


async def link(metadata: Metadata, repository: str, number: int, size: int = 100) -> None:
    await metadata.changes.submit(LinkBlob(repository, BLOBS[number], size))


async def test_bytes_of_a_project_are_counted_once(metadata: Metadata) -> None:
    await limit(metadata, "team/**", bytes=250)
    await link(metadata, "team/a", 1)
    await link(metadata, "team/b/c", 1)
    await link(metadata, "team/b", 2)
    with pytest.raises(LimitReached, match=r"quota of team/\*\* is 250 bytes, of which 200"):
        await link(metadata, "team/a", 3)
    await link(metadata, "team/a", 3, size=50)
    await link(metadata, "team/a", 2)
    await link(metadata, "teams/a", 4, size=10_000)
    await link(metadata, "team", 5, size=10_000)


async def test_a_mount_takes_room_too(metadata: Metadata) -> None:
    await limit(metadata, "small", bytes=150)
    await link(metadata, "large", 1)
    await link(metadata, "large", 2)
    await metadata.changes.submit(MountBlob("small", "large", BLOBS[1]))
    with pytest.raises(LimitReached):
        await metadata.changes.submit(MountBlob("small", "large", BLOBS[2]))
    await metadata.changes.submit(MountBlob("small", "large", BLOBS[1]))


async def put(metadata: Metadata, repository: str, manifest: Manifest, *tags: str) -> None:
    await metadata.changes.submit(PutManifest(repository, manifest, tags))


async def pushed(metadata: Metadata, repository: str, seed: int) -> Manifest:
    item = small_image(seed)
    for blob in item.blobs:
        await metadata.changes.submit(LinkBlob(repository, blob.digest, len(blob.content)))
    return parse(item.manifest.content, item.manifest.media_type, "sha256")


async def test_tags_of_a_project(metadata: Metadata) -> None:
    await limit(metadata, "**", tags=2)
    one, other = await pushed(metadata, "a", 1), await pushed(metadata, "b", 2)
    await put(metadata, "a", one, "x")
    with pytest.raises(LimitReached, match="2 tags"):
        await put(metadata, "b", other, "y", "z")
    await put(metadata, "b", other, "y")
    await put(metadata, "b", other, "y")
    with pytest.raises(LimitReached):
        await put(metadata, "a", one, "z")
    await metadata.changes.submit(DeleteTag("a", "x"))
    await put(metadata, "a", one, "z")


async def test_immutable_tags_stay(metadata: Metadata) -> None:
    one, other = await pushed(metadata, "a", 1), await pushed(metadata, "a", 2)
    await put(metadata, "a", one, "v1", "latest")
    await limit(metadata, "a", immutable=("v*",))
    await put(metadata, "a", one, "v1", "v2")
    for change in (
        PutManifest("a", other, ("v1",)),
        DeleteTag("a", "v1"),
        DeleteManifest("a", str(one.digest)),
    ):
        with pytest.raises(LimitReached, match="immutable"):
            await metadata.changes.submit(change)
    await put(metadata, "a", other, "latest", "v3")
    assert (await metadata.reader.tags("a", "", 10)) == ["latest", "v1", "v2", "v3"]


async def test_what_an_immutable_tag_names_keeps_its_type(metadata: Metadata) -> None:
    """As another type the same bytes refer to other blobs, or to none, and clients take them for another thing."""
    image = await pushed(metadata, "a", 1)
    await put(metadata, "a", image, "v1")
    await limit(metadata, "a", immutable=("v*",))
    with pytest.raises(LimitReached, match="immutable"):
        await put(metadata, "a", replace(image, media_type="application/x-other", refs=()))
    found = await metadata.reader.manifest_by_tag("a", "v1")
    assert found is not None
    assert found.media_type == image.media_type


def listing_of(item: Manifest) -> Manifest:
    entry = {"mediaType": item.media_type, "digest": str(item.digest), "size": len(item.content)}
    return parse(json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(), OCI_INDEX, "sha256")


async def test_an_immutable_index_keeps_its_images(metadata: Metadata) -> None:
    image, other = await pushed(metadata, "a", 1), await pushed(metadata, "a", 2)
    await put(metadata, "a", image)
    await put(metadata, "a", other)
    listing = listing_of(image)
    outer = listing_of(listing)
    await put(metadata, "a", listing)
    await put(metadata, "a", outer, "v1")
    await limit(metadata, "a", immutable=("v*",))
    with pytest.raises(LimitReached, match="immutable"):
        await metadata.changes.submit(DeleteManifest("a", str(image.digest)))
    await metadata.changes.submit(DeleteManifest("a", str(other.digest)))
