"""MetadataReader: lists, what refers to what, and how fresh answers are."""

from __future__ import annotations

from registry.domain.changes import (
    CollectBlobs,
    DeleteManifest,
    DeleteTag,
)
from registry.ports import BlobLink
from registry.storage.metadata.cache import CachedReader
from tests.contracts.adapters import Metadata
from tests.contracts.pushing import OTHER, REPO, push, put
from tests.harness.content import Blob, image, index, random_layer, small_image


class TestLists:
    async def test_tags_come_in_bytewise_order_and_in_pages(self, metadata: Metadata) -> None:
        item = small_image()
        tags = ["0", "9", "A", "Z", "_x", "a", "a-b", "a.b", "a_b", "aa", "b", "z"]
        await push(metadata, REPO, item, *reversed(tags))
        assert list(await metadata.reader.tags(REPO, "", 100)) == sorted(tags)
        assert list(await metadata.reader.tags(REPO, "", 3)) == sorted(tags)[:3]
        assert list(await metadata.reader.tags(REPO, "a", 2)) == ["a-b", "a.b"]
        assert list(await metadata.reader.tags(REPO, "a0", 1)) == ["a_b"]
        assert list(await metadata.reader.tags(REPO, "z", 2)) == []
        assert list(await metadata.reader.tags(REPO, "", 0)) == []

    async def test_repositories_come_in_bytewise_order_and_in_pages(self, metadata: Metadata) -> None:
        item = small_image()
        names = ["a", "a-b", "a/b", "a.b", "a_b", "ab", "b"]
        for name in reversed(names):
            await push(metadata, name, item)
        assert list(await metadata.reader.repositories("", 100)) == sorted(names)
        assert list(await metadata.reader.repositories("a", 2)) == sorted(names)[1:3]
        assert list(await metadata.reader.repositories("a/", 1)) == ["a/b"]

    async def test_referrers_by_subject_type_and_page(self, metadata: Metadata) -> None:
        subject = small_image().manifest
        items = [image(random_layer(1, seed), subject=subject, annotations={"n": str(seed)}) for seed in range(5)]
        for item in items:
            await push(metadata, REPO, item)
        await push(metadata, OTHER, items[0])
        wanted = sorted(item.digest for item in items)
        found = (await metadata.reader.referrers(REPO, subject.digest, None, "", 100)).entries
        assert [entry.digest for entry in found] == wanted
        by_digest = {entry.digest: entry for entry in found}
        for item in items:
            entry = by_digest[item.digest]
            assert (entry.media_type, entry.size) == (item.manifest.media_type, item.manifest.size)
            assert entry.artifact_type == item.config.media_type
            assert dict(entry.annotations) == item.manifest.json()["annotations"]
        paged = (await metadata.reader.referrers(REPO, subject.digest, None, wanted[1], 2)).entries
        assert [entry.digest for entry in paged] == wanted[2:4]
        typed = (await metadata.reader.referrers(REPO, subject.digest, items[0].config.media_type, "", 100)).entries
        assert [entry.digest for entry in typed] == wanted
        assert list((await metadata.reader.referrers(REPO, subject.digest, "application/other", "", 100)).entries) == []
        assert list((await metadata.reader.referrers(OTHER, Blob(b"x").digest, None, "", 100)).entries) == []

    async def test_subjects_of_those_that_exist(self, metadata: Metadata) -> None:
        plain = small_image(1)
        referring = image(random_layer(1), subject=plain.manifest)
        await push(metadata, REPO, plain)
        await push(metadata, REPO, referring)
        digests = [plain.digest, referring.digest, Blob(b"absent").digest, *(f"sha256:{n:064x}" for n in range(1200))]
        assert await metadata.reader.subjects(REPO, digests) == {plain.digest: None, referring.digest: plain.digest}
        assert await metadata.reader.subjects(OTHER, digests) == {}


class TestIndexesWith:
    async def test_lists_the_indexes_of_the_repository_in_order(self, metadata: Metadata) -> None:
        item, other = small_image(1), small_image(2)
        indexes = [index(item), index(item, other), index(other, item, artifact_type="application/x.y")]
        for part in (item, other):
            await push(metadata, REPO, part)
            await push(metadata, OTHER, part)
        for each in indexes:
            await put(metadata, REPO, each.manifest)
        await push(metadata, REPO, image(random_layer(1), subject=item.manifest))
        digests = sorted(each.digest for each in indexes)
        assert list(await metadata.reader.indexes_with(REPO, item.digest, 10)) == digests
        assert list(await metadata.reader.indexes_with(REPO, item.digest, 2)) == digests[:2]
        assert list(await metadata.reader.indexes_with(REPO, item.layers[0].digest, 10)) == []
        assert list(await metadata.reader.indexes_with(OTHER, item.digest, 10)) == []


class TestRevision:
    """Two looks have it in common only if nothing in the repository has changed between them."""

    async def test_is_another_one_after_each_change(self, metadata: Metadata) -> None:
        item, reader = small_image(), metadata.reader

        async def look() -> int:
            await reader.manifest_by_digest(REPO, item.digest)
            return reader.revision(REPO)

        seen = [await look()]
        await push(metadata, REPO, item, "a")
        seen.append(await look())
        for change in (DeleteTag(REPO, "a"), DeleteManifest(REPO, item.digest)):
            await metadata.changes.submit(change)
            seen.append(await look())
        assert len(set(seen)) == len(seen)

    async def test_of_a_cache_stays_while_nothing_changes(self, metadata: Metadata) -> None:
        """Others do not tell repositories apart, or remember nothing: for them each look is another one."""
        item, reader = small_image(), metadata.reader
        await push(metadata, REPO, item, "a")
        seen = set()
        for reference in ("a", "a"):
            await reader.manifest_by_tag(REPO, reference)
            await reader.manifest_by_digest(REPO, item.digest)
            seen.add(reader.revision(REPO))
            await push(metadata, OTHER, item)
        assert len(seen) == (1 if isinstance(reader, CachedReader) else 2)
        if isinstance(reader, CachedReader):
            assert reader.revision("never/seen") != reader.revision("never/seen")


class TestFreshness:
    """An answer that was given before is not given again after a change was acknowledged."""

    async def test_after_each_change(self, metadata: Metadata) -> None:
        reader, item = metadata.reader, small_image()
        await push(metadata, REPO, item, "a")
        for _ in range(2):
            assert await reader.manifest_by_tag(REPO, "a") is not None
            assert await reader.manifest_by_digest(REPO, item.digest) is not None
            assert await reader.blob(REPO, item.config.digest) == BlobLink(item.config.size, None)
        await metadata.changes.submit(DeleteTag(REPO, "a"))
        assert await reader.manifest_by_tag(REPO, "a") is None
        assert await reader.manifest_by_digest(REPO, item.digest) is not None
        await metadata.changes.submit(DeleteManifest(REPO, item.digest))
        assert await reader.manifest_by_digest(REPO, item.digest) is None
        assert await reader.blob(REPO, item.config.digest) == BlobLink(item.config.size, metadata.clock())
        await metadata.node.submit(CollectBlobs(metadata.clock() + 1, (), 100))
        assert await reader.blob(REPO, item.config.digest) is None
        await push(metadata, REPO, item, "a")
        assert await reader.manifest_by_tag(REPO, "a") is not None

    async def test_more_content_than_a_cache_holds(self, metadata: Metadata) -> None:
        items = [image(random_layer(1, seed), annotations={"fill": "x" * 300_000, "n": str(seed)}) for seed in range(6)]
        for number, item in enumerate(items):
            await push(metadata, f"repo{number % 2}", item, f"t{number}")
        for _ in range(2):
            for number, item in enumerate(items):
                found = await metadata.reader.manifest_by_tag(f"repo{number % 2}", f"t{number}")
                assert found is not None
                assert found.content == item.manifest.content
