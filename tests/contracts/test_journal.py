"""Journal: one event for each change that a replica has to hear of, without gaps, chained."""

from __future__ import annotations

import json

import pytest

from registry.domain import events
from registry.domain.changes import (
    CollectBlobs,
    DeleteBlob,
    DeleteManifest,
    DeleteTag,
    ForgetGarbage,
    KeepBlob,
    LinkBlob,
    MountBlob,
    PutManifest,
)
from registry.domain.events import JournalEvent
from registry.errors import RegistryError
from tests.contracts.adapters import Metadata
from tests.contracts.pushing import OTHER, REPO, parsed, push, put
from tests.harness.content import Blob, small_image


async def all_events(metadata: Metadata) -> list[JournalEvent]:
    return list(await metadata.journal.events(0, 1000))


def told(event: JournalEvent) -> tuple[str, str, dict[str, object]]:
    return event.kind, event.repository, json.loads(event.payload)


async def test_begins_with_an_epoch(metadata: Metadata) -> None:
    (event,) = await all_events(metadata)
    assert (event.serial, event.epoch, event.kind, event.repository) == (1, 1, events.EPOCH_BEGIN, "")
    assert len(json.loads(event.payload)["id"]) >= 32


async def test_each_change_of_manifests_and_tags_is_told_in_order(metadata: Metadata) -> None:
    item = small_image()
    await push(metadata, REPO, item, "v1", "latest")
    metadata.clock.advance(1)
    await put(metadata, REPO, item.manifest, "v1", "v2")
    await metadata.changes.submit(DeleteTag(REPO, "latest"))
    await metadata.changes.submit(DeleteManifest(REPO, item.digest))
    _, put_event, *rest = await all_events(metadata)
    media_type = item.manifest.media_type
    assert told(put_event) == (
        events.MANIFEST_PUT,
        REPO,
        {"digest": item.digest, "media_type": media_type, "tags": ["v1", "latest"]},
    )
    assert put_event.content == item.manifest.content
    assert [told(event) for event in rest] == [
        (events.TAG_SET, REPO, {"tag": "v2", "digest": item.digest}),
        (events.TAG_DELETE, REPO, {"tag": "latest"}),
        (events.MANIFEST_DELETE, REPO, {"digest": item.digest}),
    ]
    assert [event.content for event in rest] == [b"", b"", b""]
    assert (put_event.time, rest[0].time) == (metadata.clock() - 1, metadata.clock())


async def test_blobs_refusals_and_repetitions_are_no_events(metadata: Metadata) -> None:
    item, loose = small_image(), Blob(b"loose")
    await push(metadata, REPO, item, "v1")
    before = await all_events(metadata)
    await put(metadata, REPO, item.manifest, "v1")
    await metadata.changes.submit(LinkBlob(REPO, loose.digest, loose.size))
    await metadata.changes.submit(KeepBlob(REPO, loose.digest))
    await metadata.changes.submit(MountBlob(OTHER, None, loose.digest))
    await metadata.changes.submit(DeleteBlob(OTHER, loose.digest))
    await metadata.node.submit(CollectBlobs(metadata.clock() + 1, (), 10))
    await metadata.node.submit(ForgetGarbage((loose.digest,)))
    for refused in (
        PutManifest(OTHER, parsed(item.manifest), ("x",)),
        DeleteTag(REPO, "absent"),
        DeleteManifest(REPO, loose.digest),
        DeleteBlob(REPO, item.config.digest),
        MountBlob(OTHER, "absent", loose.digest),
    ):
        with pytest.raises(RegistryError):
            await metadata.changes.submit(refused)
    assert await all_events(metadata) == before


async def test_serials_have_no_gaps_and_the_chain_holds(metadata: Metadata) -> None:
    for seed in range(5):
        await push(metadata, REPO, small_image(seed), "latest")
    found = await all_events(metadata)
    assert [event.serial for event in found] == list(range(1, 7))
    chain = events.CHAIN_START
    for event in found:
        assert events.verify(chain, event)
        chain = event.chain


async def test_is_read_in_pages(metadata: Metadata) -> None:
    for seed in range(4):
        await push(metadata, REPO, small_image(seed))
    assert [event.serial for event in await metadata.journal.events(1, 2)] == [2, 3]
    assert [event.serial for event in await metadata.journal.events(3, 10)] == [4, 5]
    assert list(await metadata.journal.events(5, 10)) == []
