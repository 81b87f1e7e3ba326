"""The metadata in SQL does what the metadata in memory does, change by change."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.domain import manifest as manifests
from registry.domain.changes import (
    Change,
    CollectBlobs,
    DeleteBlob,
    DeleteManifest,
    DeleteTag,
    ForgetGarbage,
    KeepBlob,
    LinkBlob,
    MountBlob,
    Outcome,
    PutManifest,
)
from registry.errors import RegistryError
from tests.contracts import adapters
from tests.contracts.adapters import Metadata
from tests.harness.content import Blob, artifact, image, index, small_image

PARTS = [Blob(b"part %d" % number, "application/vnd.example.part") for number in range(3)]
FOREIGN = Blob(b"foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar")
IMAGES = [
    image(PARTS[0]),
    image(PARTS[0], PARTS[1]),
    image(PARTS[2], FOREIGN),
    artifact(PARTS[1], subject=small_image().manifest),
    artifact(PARTS[2], subject=image(PARTS[0]).manifest, artifact_type="application/vnd.example.other"),
]
MANIFESTS = [*(item.manifest for item in IMAGES), index(IMAGES[0], IMAGES[1]).manifest]
BLOBS = [*PARTS, FOREIGN, *{item.config.digest: item.config for item in IMAGES}.values()]
REPOSITORIES, TAGS = ("a", "b"), ("x", "y", "z")

repositories = st.sampled_from(REPOSITORIES)
blobs = st.sampled_from(BLOBS)
targets = st.sampled_from(MANIFESTS)


def put(repository: str, manifest: Blob, tags: list[str]) -> PutManifest:
    return PutManifest(repository, manifests.parse(manifest.content, manifest.media_type, "sha256"), tuple(tags))


def link(repository: str, blob: Blob) -> LinkBlob:
    return LinkBlob(repository, blob.digest, blob.size)


changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(link, repositories, blobs),
    st.builds(MountBlob, repositories, st.none() | repositories, blobs.map(lambda blob: blob.digest)),
    st.builds(KeepBlob, repositories, blobs.map(lambda blob: blob.digest)),
    st.builds(DeleteBlob, repositories, blobs.map(lambda blob: blob.digest)),
    st.builds(put, repositories, targets, st.lists(st.sampled_from(TAGS), max_size=2, unique=True)),
    st.builds(DeleteTag, repositories, st.sampled_from(TAGS)),
    st.builds(DeleteManifest, repositories, targets.map(lambda manifest: manifest.digest)),
    st.builds(CollectBlobs, st.integers(1_000_000, 1_000_100).map(float), st.sampled_from([(), ("a",)]), st.just(100)),
    st.builds(ForgetGarbage, blobs.map(lambda blob: (blob.digest,))),
)
everything = [link(name, blob) for name in REPOSITORIES for blob in BLOBS]


async def applied(metadata: Metadata, change: Change) -> tuple[object, ...]:
    """What a change answered."""
    try:
        outcome = await metadata.node.submit(change)
    except RegistryError as refusal:
        return type(refusal), refusal.detail
    return Outcome, outcome.changed, sorted(outcome.digests)


async def seen(metadata: Metadata) -> list[object]:
    """All that can be read."""
    reader, found = metadata.reader, list[object]()
    for name in REPOSITORIES:
        found += [await reader.repository_exists(name), list(await reader.tags(name, "", 10))]
        found += [await reader.manifest_by_tag(name, tag) for tag in TAGS]
        found += [await reader.manifest_by_digest(name, manifest.digest) for manifest in MANIFESTS]
        found += [await reader.blob(name, blob.digest) for blob in BLOBS]
        for subject in (small_image().digest, IMAGES[0].digest):
            found.append(list((await reader.referrers(name, subject, None, "", 10)).entries))
        found.append(await reader.subjects(name, [manifest.digest for manifest in MANIFESTS]))
    found += [await reader.stored(blob.digest) for blob in BLOBS]
    found += [list(await reader.repositories("", 10)), sorted(await reader.garbage())]
    for event in await metadata.journal.events(1, 1000):
        found.append((event.serial, event.kind, event.repository, event.payload, event.content))
    return found


@settings(max_examples=40)
@given(st.booleans(), st.lists(changes, max_size=25))
async def test_after_any_changes(filled: bool, sequence: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as data:
        async with (
            adapters.metadata("memory", Path(data)) as memory,
            adapters.metadata("sql with a cache", Path(data)) as sql,
        ):
            for number, change in enumerate([*(everything if filled else ()), *sequence]):
                for metadata in (memory, sql):
                    metadata.clock.now = 1_000_000.0 + number
                assert await applied(memory, change) == await applied(sql, change)
                if number >= (len(everything) if filled else 0):
                    assert await seen(memory) == await seen(sql)
