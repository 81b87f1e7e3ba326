"""MetadataReader and Changes."""

from __future__ import annotations

import json

import pytest

from registry.domain.changes import (
    CollectBlobs,
    DeleteBlob,
    DeleteManifest,
    DeleteTag,
    ForgetGarbage,
    KeepBlob,
    LinkBlob,
    MountBlob,
    Outcome,
)
from registry.errors import BlobInUse, BlobUnknown, ManifestBlobUnknown, ManifestUnknown
from registry.ports import BlobLink
from tests.contracts.adapters import Metadata
from tests.contracts.pushing import OTHER, REPO, push, push_blobs, put
from tests.harness.content import OCI_INDEX, Blob, image, index, random_layer, small_image


async def unneeded_since(metadata: Metadata, repository: str, digest: str) -> float | None:
    link = await metadata.reader.blob(repository, digest)
    assert link is not None
    return link.unneeded_since


class TestNothing:
    async def test_an_empty_registry_has_nothing(self, metadata: Metadata) -> None:
        reader, digest = metadata.reader, Blob(b"").digest
        await reader.check()
        assert await reader.manifest_by_tag(REPO, "latest") is None
        assert await reader.manifest_by_digest(REPO, digest) is None
        assert await reader.blob(REPO, digest) is None
        assert await reader.stored(digest) is None
        assert not await reader.repository_exists(REPO)
        assert list(await reader.tags(REPO, "", 10)) == []
        assert list(await reader.repositories("", 10)) == []
        assert list((await reader.referrers(REPO, digest, None, "", 10)).entries) == []
        assert await reader.subjects(REPO, [digest]) == {}
        assert list(await reader.garbage()) == []


class TestLinkBlob:
    async def test_makes_a_blob_visible_in_its_repository_alone(self, metadata: Metadata) -> None:
        blob = Blob(b"some layer")
        assert await metadata.changes.submit(LinkBlob(REPO, blob.digest, blob.size)) == Outcome(changed=True)
        assert await metadata.reader.blob(REPO, blob.digest) == BlobLink(blob.size, metadata.clock())
        assert await metadata.reader.blob(OTHER, blob.digest) is None
        assert await metadata.reader.stored(blob.digest) is not None
        assert await metadata.reader.repository_exists(REPO)

    async def test_a_repository_without_a_manifest_is_not_listed(self, metadata: Metadata) -> None:
        await push_blobs(metadata, REPO, Blob(b"some layer"))
        assert list(await metadata.reader.repositories("", 10)) == []

    async def test_again_changes_nothing_but_the_time(self, metadata: Metadata) -> None:
        blob = Blob(b"some layer")
        await push_blobs(metadata, REPO, blob)
        metadata.clock.advance(60)
        assert await metadata.changes.submit(LinkBlob(REPO, blob.digest, blob.size)) == Outcome(changed=False)
        assert await metadata.reader.blob(REPO, blob.digest) == BlobLink(blob.size, metadata.clock())

    async def test_of_a_layer_that_a_manifest_named_before_it_came(self, metadata: Metadata) -> None:
        foreign = Blob(b"foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar")
        item = image(foreign)
        await push_blobs(metadata, REPO, item.config)
        await put(metadata, REPO, item.manifest)
        await push_blobs(metadata, REPO, foreign)
        assert await unneeded_since(metadata, REPO, foreign.digest) is None


class TestMountBlob:
    @pytest.mark.parametrize("source", [REPO, None])
    async def test_makes_a_blob_visible_elsewhere(self, metadata: Metadata, source: str | None) -> None:
        blob = Blob(b"some layer")
        await push_blobs(metadata, REPO, blob)
        metadata.clock.advance(5)
        assert await metadata.changes.submit(MountBlob(OTHER, source, blob.digest)) == Outcome(changed=True)
        assert await metadata.reader.blob(OTHER, blob.digest) == BlobLink(blob.size, metadata.clock())
        assert await metadata.changes.submit(MountBlob(OTHER, source, blob.digest)) == Outcome(changed=False)

    @pytest.mark.parametrize("source", [OTHER, "never/seen", None])
    async def test_is_refused_where_the_source_has_no_such_blob(self, metadata: Metadata, source: str | None) -> None:
        await push_blobs(metadata, OTHER, Blob(b"another"))
        with pytest.raises(BlobUnknown):
            await metadata.changes.submit(MountBlob("third", source, Blob(b"some layer").digest))
        assert not await metadata.reader.repository_exists("third")


class TestKeepBlob:
    async def test_begins_the_grace_time_anew(self, metadata: Metadata) -> None:
        blob = Blob(b"some layer")
        await push_blobs(metadata, REPO, blob)
        assert await unneeded_since(metadata, REPO, blob.digest) == metadata.clock()
        metadata.clock.advance(60)
        await metadata.changes.submit(KeepBlob(REPO, blob.digest))
        assert await unneeded_since(metadata, REPO, blob.digest) == metadata.clock()

    async def test_leaves_a_needed_blob_alone(self, metadata: Metadata) -> None:
        item = small_image()
        await push(metadata, REPO, item)
        await metadata.changes.submit(KeepBlob(REPO, item.config.digest))
        assert await unneeded_since(metadata, REPO, item.config.digest) is None

    async def test_is_refused_without_the_blob(self, metadata: Metadata) -> None:
        with pytest.raises(BlobUnknown):
            await metadata.changes.submit(KeepBlob(REPO, Blob(b"x").digest))


class TestDeleteBlob:
    async def test_the_last_link_leaves_garbage(self, metadata: Metadata) -> None:
        blob = Blob(b"some layer")
        await push_blobs(metadata, REPO, blob)
        await push_blobs(metadata, OTHER, blob)
        assert await metadata.reader.blob(REPO, blob.digest) is not None
        assert await metadata.changes.submit(DeleteBlob(REPO, blob.digest)) == Outcome()
        assert await metadata.reader.blob(REPO, blob.digest) is None
        assert await metadata.reader.stored(blob.digest) is not None
        assert await metadata.changes.submit(DeleteBlob(OTHER, blob.digest)) == Outcome(digests=(blob.digest,))
        assert await metadata.reader.stored(blob.digest) is None
        assert list(await metadata.reader.garbage()) == [blob.digest]

    async def test_is_refused_while_a_manifest_of_the_repository_needs_it(self, metadata: Metadata) -> None:
        item = small_image()
        await push(metadata, REPO, item, "latest")
        await push_blobs(metadata, OTHER, item.config)
        with pytest.raises(BlobInUse) as refusal:
            await metadata.changes.submit(DeleteBlob(REPO, item.config.digest))
        assert refusal.value.detail == {"digest": item.config.digest}
        await metadata.changes.submit(DeleteBlob(OTHER, item.config.digest))
        assert await metadata.reader.blob(REPO, item.config.digest) is not None

    @pytest.mark.parametrize("repository", [REPO, OTHER])
    async def test_is_refused_without_the_blob(self, metadata: Metadata, repository: str) -> None:
        await push_blobs(metadata, OTHER, Blob(b"another"))
        with pytest.raises(BlobUnknown):
            await metadata.changes.submit(DeleteBlob(repository, Blob(b"some layer").digest))

    async def test_a_blob_that_comes_back_is_no_garbage(self, metadata: Metadata) -> None:
        blob = Blob(b"some layer")
        await push_blobs(metadata, REPO, blob)
        await metadata.changes.submit(DeleteBlob(REPO, blob.digest))
        assert list(await metadata.reader.garbage()) == [blob.digest]
        assert list(await metadata.reader.garbage(blob.digest)) == []
        await push_blobs(metadata, REPO, blob)
        assert await metadata.reader.stored(blob.digest) is not None
        assert list(await metadata.reader.garbage()) == []
        await metadata.node.submit(ForgetGarbage((blob.digest,)))
        assert await metadata.reader.blob(REPO, blob.digest) is not None


class TestPutManifest:
    async def test_is_served_byte_for_byte_by_digest_and_by_every_tag(self, metadata: Metadata) -> None:
        item = small_image()
        await push_blobs(metadata, REPO, *item.blobs)
        assert await put(metadata, REPO, item.manifest, "v1", "latest") == Outcome()
        for found in (
            await metadata.reader.manifest_by_digest(REPO, item.digest),
            await metadata.reader.manifest_by_tag(REPO, "v1"),
            await metadata.reader.manifest_by_tag(REPO, "latest"),
        ):
            assert found is not None
            assert (found.digest, found.media_type, found.content) == (
                item.digest,
                item.manifest.media_type,
                item.manifest.content,
            )
        assert list(await metadata.reader.tags(REPO, "", 10)) == ["latest", "v1"]
        assert list(await metadata.reader.repositories("", 10)) == [REPO]
        assert await metadata.reader.manifest_by_tag(OTHER, "v1") is None
        assert await metadata.reader.manifest_by_digest(OTHER, item.digest) is None

    async def test_its_blobs_are_needed_from_then_on(self, metadata: Metadata) -> None:
        item = small_image()
        await push(metadata, REPO, item)
        for blob in item.blobs:
            assert await metadata.reader.blob(REPO, blob.digest) == BlobLink(blob.size, None)
        await push_blobs(metadata, REPO, *item.blobs)
        assert await unneeded_since(metadata, REPO, item.config.digest) is None

    async def test_again_does_no_harm(self, metadata: Metadata) -> None:
        item = small_image()
        await push(metadata, REPO, item, "v1")
        assert await put(metadata, REPO, item.manifest, "v1") == Outcome(changed=False)
        assert await put(metadata, REPO, item.manifest) == Outcome(changed=False)
        assert await put(metadata, REPO, item.manifest, "v1", "v2") == Outcome(changed=True)
        assert list(await metadata.reader.tags(REPO, "", 10)) == ["v1", "v2"]

    async def test_a_tag_moves(self, metadata: Metadata) -> None:
        first, second = small_image(1), small_image(2)
        await push(metadata, REPO, first, "latest")
        found = await metadata.reader.manifest_by_tag(REPO, "latest")
        assert found is not None
        assert found.digest == first.digest
        await push(metadata, REPO, second, "latest")
        found = await metadata.reader.manifest_by_tag(REPO, "latest")
        assert found is not None
        assert found.digest == second.digest
        assert await metadata.reader.manifest_by_digest(REPO, first.digest) is not None

    @pytest.mark.parametrize("missing", [0, 1])
    async def test_is_refused_without_a_blob_and_leaves_nothing(self, metadata: Metadata, missing: int) -> None:
        item = small_image()
        await push_blobs(metadata, OTHER, *item.blobs)
        await push_blobs(metadata, REPO, item.blobs[1 - missing])
        with pytest.raises(ManifestBlobUnknown) as refusal:
            await put(metadata, REPO, item.manifest, "latest")
        assert refusal.value.detail == {"digest": item.blobs[missing].digest}
        assert await metadata.reader.manifest_by_tag(REPO, "latest") is None
        assert await metadata.reader.manifest_by_digest(REPO, item.digest) is None
        assert await unneeded_since(metadata, REPO, item.blobs[1 - missing].digest) is not None

    async def test_an_index_is_refused_without_a_child(self, metadata: Metadata) -> None:
        one, two = small_image(1), small_image(2)
        listing = index(one, two).manifest
        await push(metadata, REPO, one)
        with pytest.raises(ManifestBlobUnknown) as refusal:
            await put(metadata, REPO, listing)
        assert refusal.value.detail == {"digest": two.digest}
        await push(metadata, REPO, two)
        await put(metadata, REPO, listing, "both")
        found = await metadata.reader.manifest_by_tag(REPO, "both")
        assert found is not None
        assert found.media_type == OCI_INDEX

    async def test_the_same_bytes_as_another_type_refer_to_other_things(self, metadata: Metadata) -> None:
        """Here a blob that the unknown type names is none that an image needs."""
        settings, extra = Blob(b"{}", "application/x"), Blob(b"extra", "application/x")
        document = {"schemaVersion": 2, "config": settings.descriptor(), "layers": [], "blobs": [extra.descriptor()]}
        content = json.dumps(document).encode()
        await push_blobs(metadata, REPO, settings, extra)
        await put(metadata, REPO, Blob(content, "application/vnd.example.unknown+json"), "latest")
        assert await unneeded_since(metadata, REPO, extra.digest) is None
        metadata.clock.advance(60)
        as_image = Blob(content, "application/vnd.oci.image.manifest.v1+json")
        assert await put(metadata, REPO, as_image, "latest") == Outcome()
        found = await metadata.reader.manifest_by_tag(REPO, "latest")
        assert found is not None
        assert found.media_type == as_image.media_type
        assert await unneeded_since(metadata, REPO, settings.digest) is None
        assert await unneeded_since(metadata, REPO, extra.digest) == metadata.clock()
        await metadata.changes.submit(DeleteBlob(REPO, extra.digest))

    async def test_of_very_many_layers(self, metadata: Metadata) -> None:
        layers = [Blob(b"layer %d" % number) for number in range(1200)]
        item = image(*layers)
        await push_blobs(metadata, REPO, item.config, *layers[:-1])
        with pytest.raises(ManifestBlobUnknown) as refusal:
            await put(metadata, REPO, item.manifest)
        assert refusal.value.detail == {"digest": layers[-1].digest}
        await push_blobs(metadata, REPO, layers[-1])
        await put(metadata, REPO, item.manifest)

    async def test_text_of_any_kind_in_a_manifest_is_kept(self, metadata: Metadata) -> None:
        settings = Blob(b"{}", "application/x")
        subject = Blob(b"subject", OCI_INDEX)
        await push_blobs(metadata, REPO, settings)
        for kind in ("a\\u0000b", "ä\\n☃"):
            document = (
                f'{{"schemaVersion":2,"artifactType":"{kind}","annotations":{{"{kind}":"{kind}"}},'
                f'"config":{json.dumps(settings.descriptor())},"layers":[],"subject":{json.dumps(subject.descriptor())}}}'
            )
            item = Blob(document.encode(), "application/vnd.oci.image.manifest.v1+json")
            await put(metadata, REPO, item)
            assert await metadata.reader.manifest_by_digest(REPO, item.digest) is not None
        assert len((await metadata.reader.referrers(REPO, subject.digest, None, "", 10)).entries) == 2


class TestDeleteManifest:
    async def test_takes_its_tags_along(self, metadata: Metadata) -> None:
        one, two = small_image(1), small_image(2)
        await push(metadata, REPO, one, "a", "c")
        await push(metadata, REPO, two, "b")
        await metadata.changes.submit(DeleteManifest(REPO, one.digest))
        assert list(await metadata.reader.tags(REPO, "", 10)) == ["b"]
        assert await metadata.reader.manifest_by_digest(REPO, one.digest) is None
        assert await metadata.reader.manifest_by_tag(REPO, "a") is None
        assert await metadata.reader.manifest_by_tag(REPO, "b") is not None

    async def test_its_blobs_are_unneeded_but_for_those_of_others(self, metadata: Metadata) -> None:
        shared, own = random_layer(10, 1), random_layer(10, 2)
        one, two = image(shared, own), image(shared)
        await push(metadata, REPO, one)
        await push(metadata, REPO, two)
        metadata.clock.advance(60)
        await metadata.changes.submit(DeleteManifest(REPO, one.digest))
        assert await unneeded_since(metadata, REPO, own.digest) == metadata.clock()
        assert await unneeded_since(metadata, REPO, shared.digest) is None
        await metadata.changes.submit(DeleteBlob(REPO, own.digest))
        with pytest.raises(BlobInUse):
            await metadata.changes.submit(DeleteBlob(REPO, shared.digest))

    async def test_the_repository_is_still_known_and_no_longer_listed(self, metadata: Metadata) -> None:
        item = small_image()
        await push(metadata, REPO, item, "a")
        await metadata.changes.submit(DeleteManifest(REPO, item.digest))
        assert await metadata.reader.repository_exists(REPO)
        assert list(await metadata.reader.repositories("", 10)) == []

    @pytest.mark.parametrize("repository", [REPO, OTHER])
    async def test_is_refused_without_the_manifest(self, metadata: Metadata, repository: str) -> None:
        await push(metadata, OTHER, small_image(2))
        with pytest.raises(ManifestUnknown):
            await metadata.changes.submit(DeleteManifest(repository, small_image(1).digest))


class TestDeleteTag:
    async def test_leaves_the_manifest(self, metadata: Metadata) -> None:
        item = small_image()
        await push(metadata, REPO, item, "a", "b")
        await metadata.changes.submit(DeleteTag(REPO, "a"))
        assert list(await metadata.reader.tags(REPO, "", 10)) == ["b"]
        assert await metadata.reader.manifest_by_tag(REPO, "a") is None
        assert await metadata.reader.manifest_by_digest(REPO, item.digest) is not None

    @pytest.mark.parametrize("repository", [REPO, OTHER])
    async def test_is_refused_without_the_tag(self, metadata: Metadata, repository: str) -> None:
        await push(metadata, OTHER, small_image(), "a")
        with pytest.raises(ManifestUnknown):
            await metadata.changes.submit(DeleteTag(repository, "b"))


class TestCollectBlobs:
    async def test_takes_what_was_unneeded_for_long_and_spares_the_rest(self, metadata: Metadata) -> None:
        old, fresh, spared, item = Blob(b"old"), Blob(b"fresh"), Blob(b"spared"), small_image()
        await push(metadata, REPO, item)
        await push_blobs(metadata, REPO, old)
        await push_blobs(metadata, OTHER, spared, old)
        metadata.clock.advance(100)
        await push_blobs(metadata, REPO, fresh)
        before = metadata.clock() - 50
        assert await metadata.node.submit(CollectBlobs(before, (OTHER,), 100)) == Outcome(changed=True, digests=())
        assert await metadata.reader.blob(REPO, old.digest) is None
        assert await metadata.reader.blob(REPO, fresh.digest) is not None
        assert await metadata.reader.blob(REPO, item.config.digest) is not None
        assert await metadata.reader.blob(OTHER, old.digest) is not None
        assert await metadata.node.submit(CollectBlobs(before, (OTHER,), 100)) == Outcome(changed=False)
        outcome = await metadata.node.submit(CollectBlobs(before, (), 100))
        assert (outcome.changed, set(outcome.digests)) == (True, {old.digest, spared.digest})
        assert set(await metadata.reader.garbage()) == {old.digest, spared.digest}

    async def test_takes_no_more_than_the_limit(self, metadata: Metadata) -> None:
        await push_blobs(metadata, REPO, *(Blob(b"%d" % number) for number in range(5)))
        later = metadata.clock() + 1
        taken = [len((await metadata.node.submit(CollectBlobs(later, (), 2))).digests) for _ in range(4)]
        assert taken == [2, 2, 1, 0]
