"""FeedReader of a master: the journal and what a snapshot says, from each database."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from registry.domain import events
from registry.domain.access import Account, PublicKey, Replica, encode, key_of, kind_of
from registry.domain.changes import DeleteTag, LinkBlob, PutManifest, SetRecord
from registry.domain.manifest import Manifest, parse
from registry.ports import Changes
from registry.ports.replication import LogPosition
from registry.storage.metadata.feed import SqlFeed
from tests.contracts.conftest import Database
from tests.harness.content import OCI_MANIFEST, Image, small_image


@dataclass(frozen=True)
class Master:
    feed: SqlFeed
    changes: Changes

    async def push(self, repository: str, image: Image, *tags: str, padding: int = 0) -> Manifest:
        for blob in image.blobs:
            await self.changes.submit(LinkBlob(repository, blob.digest, blob.size))
        document = {**image.manifest.json(), "annotations": {"padding": "x" * padding}}
        manifest = parse(json.dumps(document).encode(), OCI_MANIFEST, "sha256")
        await self.changes.submit(PutManifest(repository, manifest, tags))
        return manifest


@pytest.fixture
def master(database: Database) -> Master:
    return Master(SqlFeed(database.rows), database.changes)


async def test_the_position_is_that_of_the_last_event(master: Master) -> None:
    first = await master.feed.log_event(1)
    assert first is not None
    assert await master.feed.log_position() == LogPosition(1, first.epoch, first.chain)
    await master.push("team/app", small_image(1), "1")
    position = await master.feed.log_position()
    last = await master.feed.log_event(2)
    assert last is not None
    assert position == LogPosition(2, last.epoch, last.chain)
    assert await master.feed.log_event(3) is None


async def test_events_come_in_order_and_in_pages(master: Master) -> None:
    for number in range(5):
        await master.push("team/app", small_image(number), str(number))
    await master.changes.submit(DeleteTag("team/app", "3"))
    found = [*await master.feed.log_events(0, 4), *await master.feed.log_events(4, 4)]
    assert [event.serial for event in found] == [1, 2, 3, 4, 5, 6, 7]
    chain = events.CHAIN_START
    for event in found:
        assert events.verify(chain, event)
        chain = event.chain
    assert await master.feed.log_events(7, 4) == []


async def test_a_page_is_bounded_by_its_bytes(master: Master) -> None:
    for number in range(4):
        await master.push("team/app", small_image(number), padding=3_000_000)
    after, pages = 1, []
    while page := await master.feed.log_events(after, 1000):
        pages.append(len(page))
        after = page[-1].serial
    assert pages == [2, 2]
    assert len([found async for found in master.feed.snapshot_manifests("team/app")]) == 4


async def test_what_a_snapshot_says_of_a_repository(master: Master) -> None:
    pushed = [await master.push("team/app", small_image(number), f"v{number}") for number in range(3)]
    await master.push("team/other", small_image(7), "latest")
    manifests = [found async for found in master.feed.snapshot_manifests("team/app")]
    assert {(found.digest, found.media_type, found.content) for found in manifests} == {
        (str(manifest.digest), OCI_MANIFEST, manifest.content) for manifest in pushed
    }
    assert list(await master.feed.snapshot_tags("team/app", "", 2)) == [
        ("v0", str(pushed[0].digest)),
        ("v1", str(pushed[1].digest)),
    ]
    assert list(await master.feed.snapshot_tags("team/app", "v1", 2)) == [("v2", str(pushed[2].digest))]
    assert list(await master.feed.repositories("", 1)) == ["team/app"]
    assert list(await master.feed.repositories("team/app", 9)) == ["team/other"]
    assert [found async for found in master.feed.snapshot_manifests("none/such")] == []
    types = sorted((str(manifest.digest), OCI_MANIFEST) for manifest in pushed)
    assert list(await master.feed.manifest_types("team/app", "", 2)) == types[:2]
    assert list(await master.feed.manifest_types("team/app", types[1][0], 2)) == types[2:]


async def test_which_repositories_have_a_blob(master: Master) -> None:
    image = small_image(1)
    for name in ("team/app", "a/b", "z"):
        await master.push(name, image)
    await master.push("other", small_image(2))
    blob = image.blobs[0].digest
    assert list(await master.feed.repositories_with(blob, "", 2)) == ["a/b", "team/app"]
    assert list(await master.feed.repositories_with(blob, "team/app", 2)) == ["z"]
    assert list(await master.feed.repositories_with("sha256:none", "", 2)) == []


async def test_the_secret_for_cursors_stays(master: Master) -> None:
    secret = await master.feed.cursor_secret()
    assert len(secret) == 32
    assert await master.feed.cursor_secret() == secret
    await master.feed.check_source()


async def test_records_go_without_what_is_private(master: Master) -> None:
    replica = Replica("eu", "1f", 1.0)
    for record in (Account("alice", secret="a hash"), PublicKey("k1", "PEM", 1.0), replica):
        change = SetRecord(kind_of(record), key_of(record), encode(record), "PLANTED")
        await master.changes.submit(change)
    found = [("account", "alice"), ("key", "k1"), ("replica", "eu")]
    assert [(kind, key) for kind, key, _ in await master.feed.records()] == found
    log = await master.feed.log_events(0, 100)
    assert log[-1].kind == "auth.replica"
    assert events.record_of(log[-1].kind, log[-1].payload) == ("replica", "eu", encode(replica))
    assert "PLANTED" not in f"{log} {await master.feed.records()}"
