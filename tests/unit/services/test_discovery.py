"""Lists over the fakes: pages, and referrers that clients kept under a tag."""

import pytest

from registry.domain.descriptor import Descriptor
from registry.domain.digest import Digest
from registry.domain.names import referrers_tag
from registry.errors import NameUnknown
from registry.ports import Page
from registry.services.discovery import MAX_PAGE
from tests.harness.content import OCI_INDEX, Blob, Image, Json, artifact, json_blob, small_image
from tests.unit.services.node import REPO, MemoryNode

SUBJECT = Blob(b'{"subject": true}', "application/vnd.oci.image.manifest.v1+json")
SUBJECT_DIGEST = Digest.parse(SUBJECT.digest)


def referring(number: int, artifact_type: str = "application/a", *, subject: bool = True) -> Image:
    return artifact(artifact_type=artifact_type, subject=SUBJECT if subject else None, annotations={"n": str(number)})


async def list_under_the_tag(node: MemoryNode, *entries: Json) -> None:
    content = json_blob({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}, OCI_INDEX)
    await node.put(content, referrers_tag(SUBJECT_DIGEST))


def described(item: Image, artifact_type: str = "application/a") -> Json:
    return item.manifest.descriptor(artifactType=artifact_type, annotations=item.manifest.json()["annotations"])


async def referrers(
    node: MemoryNode, artifact_type: str | None = None, after: str = "", limit: int | None = None
) -> Page[Descriptor]:
    return await node.discovery.referrers(REPO, SUBJECT_DIGEST, artifact_type, after, limit)


async def test_referrers_that_a_client_listed_are_merged_with_those_of_the_database(node: MemoryNode) -> None:
    indexed, listed, both = referring(1), referring(2, subject=False), referring(3)
    for item in (indexed, listed, both):
        await node.push_image(item)
    await list_under_the_tag(node, described(listed), described(both))
    page = await referrers(node)
    assert [entry.digest for entry in page.entries] == sorted(item.digest for item in (indexed, listed, both))
    assert {entry.digest: entry.to_json() for entry in page.entries} == {
        item.digest: described(item) for item in (indexed, listed, both)
    }


async def test_what_is_listed_but_gone_or_of_another_subject_is_left_out(node: MemoryNode) -> None:
    gone = referring(1, subject=False)
    other = artifact(subject=Blob(b"{}", "application/other"), annotations={"n": "2"})
    await node.push_image(gone)
    await node.push_image(other)
    await list_under_the_tag(node, described(gone), described(other))
    assert [entry.digest for entry in (await referrers(node)).entries] == [gone.digest]
    await node.manifests.delete(REPO, referrers_tag(SUBJECT_DIGEST))
    await node.manifests.delete(REPO, Digest.parse(gone.digest))
    await node.push_image(small_image())
    assert list((await referrers(node)).entries) == []


async def test_listed_referrers_are_filtered_and_paged_like_the_others(node: MemoryNode) -> None:
    listed = [referring(number, subject=False) for number in range(4)]
    indexed = [referring(number, "application/b") for number in range(10, 14)]
    for item in (*listed, *indexed):
        await node.push_image(item)
    await list_under_the_tag(node, *map(described, listed))
    assert {entry.digest for entry in (await referrers(node, "application/a")).entries} == {i.digest for i in listed}
    assert {entry.digest for entry in (await referrers(node, "application/b")).entries} == {i.digest for i in indexed}
    found: list[str] = []
    more = True
    while more:
        page = await referrers(node, after=found[-1] if found else "", limit=3)
        assert len(page.entries) <= 3
        found += [entry.digest for entry in page.entries]
        more = page.more
    assert found == sorted(item.digest for item in (*listed, *indexed))


async def test_a_referrers_tag_that_is_no_index_does_no_harm(node: MemoryNode) -> None:
    item = small_image()
    await node.push_image(item, referrers_tag(SUBJECT_DIGEST))
    assert list((await referrers(node)).entries) == []


async def test_unknown_subjects_have_no_referrers(node: MemoryNode) -> None:
    page = await referrers(node)
    assert (list(page.entries), page.more) == ([], False)


async def test_pages_of_tags(node: MemoryNode) -> None:
    item = small_image()
    await node.push_image(item, "a")
    await node.manifests.put(REPO, "b", ("c", "d"), item.manifest.content, item.manifest.media_type)

    async def page(after: str, limit: int | None) -> tuple[list[str], bool]:
        found = await node.discovery.tags(REPO, after, limit)
        return list(found.entries), found.more

    assert await page("", None) == (["a", "b", "c", "d"], False)
    assert await page("", 4) == (["a", "b", "c", "d"], False)
    assert await page("", 3) == (["a", "b", "c"], True)
    assert await page("c", 3) == (["d"], False)
    assert await page("bb", 1) == (["c"], True)
    assert await page("d", 3) == ([], False)
    assert await page("", 0) == ([], False)
    assert await page("", 2**31) == (["a", "b", "c", "d"], False)
    with pytest.raises(NameUnknown):
        await node.discovery.tags("absent", "", None)


async def test_a_page_has_a_bound(node: MemoryNode) -> None:
    item = small_image()
    await node.push_image(item, "a")
    content, kind = item.manifest.content, item.manifest.media_type
    await node.manifests.put(REPO, "a", tuple(f"{n:05}" for n in range(MAX_PAGE)), content, kind)
    found = await node.discovery.tags(REPO, "", 2 * MAX_PAGE)
    assert (len(found.entries), found.more) == (MAX_PAGE, True)


async def test_pages_of_repositories(node: MemoryNode) -> None:
    for name in ("b", "a", "c/d"):
        await node.push_image(small_image(), "x", name)
    await node.push_blob(Blob(b"x"), "blobs/only")
    first = await node.discovery.repositories("", 2)
    assert (list(first.entries), first.more) == (["a", "b"], True)
    rest = await node.discovery.repositories("b", 2)
    assert (list(rest.entries), rest.more) == (["c/d"], False)
