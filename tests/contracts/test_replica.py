"""What a slave keeps of the log above it and how that becomes visible, in each database."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from registry.domain import events
from registry.domain.access import Account, encode
from registry.domain.changes import (
    CopyBlob,
    Demote,
    Detach,
    KeepEvents,
    KeepSnapshot,
    LinkBlob,
    NoteTransfer,
    Promote,
    PutManifest,
    SetStanding,
    ShareBlob,
    Show,
)
from registry.domain.events import CHAIN_START, JournalEvent, link, verify
from registry.domain.manifest import parse
from registry.domain.replica import Pending, Transfer, Upstream
from registry.domain.succession import Claim, Standing
from registry.errors import BlobUnknown, Denied, ManifestBlobUnknown, ReadOnly, RequestInvalid, Unavailable
from registry.ports import Changes
from registry.storage.metadata.feed import SqlFeed, SqlSlaveFeed
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.replica_reader import SqlReplicaReader
from tests.contracts.conftest import Database
from tests.harness.content import OCI_MANIFEST, Image, small_image

REPO, IMAGE = "team/app", small_image(1)
MANIFEST = parse(IMAGE.manifest.content, OCI_MANIFEST, "sha256")


@dataclass
class Slave:
    changes: Changes
    shown: SqlReader
    kept: SqlReplicaReader
    feed: SqlSlaveFeed
    chain: bytes = CHAIN_START
    serial: int = 0

    async def tell(self, *told: tuple[str, str, object, bytes]) -> tuple[JournalEvent, ...]:
        """Keeps events of these kinds, repositories, payloads and contents."""
        made = []
        for kind, repository, payload, content in told:
            self.serial += 1
            fields = (self.serial, 1, 5.0, kind, repository, json.dumps(payload).encode(), content)
            self.chain = link(self.chain, *fields)
            made.append(JournalEvent(*fields, self.chain))
        await self.changes.submit(KeepEvents(tuple(made), Upstream("m", self.serial, 1, self.chain.hex())))
        return tuple(made)

    async def copy(self, image: Image) -> None:
        for blob in image.blobs:
            await self.changes.submit(CopyBlob(LinkBlob(REPO, blob.digest, blob.size)))


@pytest.fixture
def slave(database: Database) -> Slave:
    rows, shown = database.rows, SqlReader(database.rows)
    return Slave(database.changes, shown, SqlReplicaReader(rows, shown), SqlSlaveFeed(rows))


PUT = (
    events.MANIFEST_PUT,
    REPO,
    {"digest": IMAGE.digest, "media_type": OCI_MANIFEST, "tags": ["v1"]},
    MANIFEST.content,
)


async def test_events_are_kept_as_they_came_and_wait(slave: Slave) -> None:
    told = await slave.tell(PUT, (events.TAG_DELETE, REPO, {"tag": "v1"}, b""))
    assert await slave.feed.log_events(0, 10) == list(told)
    assert (await slave.feed.log_position()).chain == slave.chain
    waiting = await slave.kept.pending(REPO, 0, 10)
    assert [(each.serial, each.kind, each.content) for each in waiting] == [
        (1, events.MANIFEST_PUT, MANIFEST.content),
        (2, events.TAG_DELETE, b""),
    ]
    assert await slave.shown.repositories("", 10) == []
    await slave.changes.submit(KeepEvents(told, Upstream("m", 2, 1, slave.chain.hex())))
    assert (await slave.kept.waiting()).events == 2, "what comes again is not kept twice"


async def test_a_slave_of_some_repositories_is_no_source(slave: Slave) -> None:
    await slave.tell(PUT)
    await slave.feed.check_source()
    limited = Upstream("m", slave.serial, 1, slave.chain.hex(), cursor="opaque")
    await slave.changes.submit(KeepEvents((), limited))
    assert await slave.kept.upstream() == limited
    with pytest.raises(Denied):
        await slave.feed.check_source()


async def test_what_is_shown_is_whole_and_waits_no_more(slave: Slave) -> None:
    await slave.tell(PUT)
    (waiting,) = await slave.kept.pending(REPO, 0, 10)
    show = Show(REPO, waiting.number, (MANIFEST,), (("v1", IMAGE.digest),), ())
    with pytest.raises(ManifestBlobUnknown):
        await slave.changes.submit(show)
    assert await slave.shown.tags(REPO, "", 10) == []
    assert (await slave.kept.waiting()).events == 1
    await slave.copy(IMAGE)
    await slave.changes.submit(show)
    found = await slave.shown.manifest_by_tag(REPO, "v1")
    assert found is not None
    assert found.content == MANIFEST.content
    assert (await slave.kept.waiting()).events == 0


async def test_a_tag_that_points_at_nothing_is_refused(slave: Slave) -> None:
    with pytest.raises(ManifestBlobUnknown):
        await slave.changes.submit(Show(REPO, 1, (), (("v1", IMAGE.digest),), ()))
    assert not await slave.shown.repository_exists(REPO)


async def test_a_manifest_that_came_again_lost_the_tags_that_were_shown(slave: Slave) -> None:
    await slave.copy(IMAGE)
    await slave.changes.submit(Show(REPO, 1, (MANIFEST,), (("v1", IMAGE.digest), ("v2", IMAGE.digest)), ()))
    await slave.changes.submit(Show(REPO, 2, (MANIFEST,), (("v1", IMAGE.digest),), (), renewed=(IMAGE.digest,)))
    assert await slave.shown.tags(REPO, "", 10) == ["v1"]


async def test_records_act_at_once_and_those_of_a_newer_master_are_passed_over(slave: Slave) -> None:
    alice = encode(Account("alice"))
    await slave.tell(
        ("auth.account", "", {"key": "alice", "value": alice}, b""),
        ("auth.novelty", "", {"key": "x", "value": '{"what": "ever"}'}, b""),
    )
    assert await slave.shown.records() == [("account", "alice", alice)]
    upstream = await slave.kept.upstream()
    assert upstream is not None
    assert upstream.serial == 2


async def test_a_snapshot_takes_the_place_of_what_was_there(slave: Slave) -> None:
    await slave.tell(("auth.account", "", {"key": "alice", "value": encode(Account("alice"))}, b""), PUT)
    begun = Upstream("m", 7, 1, "00" * 32, snapshot=True)
    await slave.changes.submit(KeepSnapshot((), None, begun, begins=True))
    assert (await slave.kept.waiting()).events == 0
    pending = Pending(0, REPO, 7, events.TAG_DELETE, b'{"tag":"v1"}', b"", is_snapshot=True)
    bob = encode(Account("bob"))
    await slave.changes.submit(KeepSnapshot((pending,), (("account", "bob", bob),), begun))
    assert await slave.shown.records() == [("account", "bob", bob)]
    (waiting,) = await slave.kept.pending(REPO, 0, 10)
    assert waiting.is_snapshot


async def test_blobs_are_shared_and_transfers_remembered(slave: Slave) -> None:
    with pytest.raises(BlobUnknown):
        await slave.changes.submit(ShareBlob("other/app", IMAGE.layers[0].digest))
    await slave.copy(IMAGE)
    await slave.changes.submit(ShareBlob("other/app", IMAGE.layers[0].digest))
    assert await slave.shown.blob("other/app", IMAGE.layers[0].digest) is not None
    transfer = Transfer(IMAGE.layers[0].digest, REPO, "an upload")
    await slave.changes.submit(NoteTransfer(transfer))
    assert await slave.kept.transfer(transfer.digest) == transfer
    await slave.changes.submit(NoteTransfer(Transfer(transfer.digest, "", "")))
    assert await slave.kept.transfer(transfer.digest) is None


async def test_detached_it_is_no_slave(slave: Slave) -> None:
    await slave.tell(PUT)
    assert (await slave.changes.submit(Detach())).changed
    assert await slave.kept.upstream() is None
    assert (await slave.kept.waiting()).events == 0
    assert not (await slave.changes.submit(Detach())).changed


PROMOTE = Promote("id-of-2", "http://new", ("http://old",))


async def test_the_log_above_becomes_that_of_a_slave_that_takes_over(slave: Slave) -> None:
    await slave.copy(IMAGE)
    told = await slave.tell(PUT)
    await slave.changes.submit(Show(REPO, 1, (MANIFEST,), (("v1", IMAGE.digest),), ()))
    other = small_image(2)
    put = {"digest": other.digest, "media_type": OCI_MANIFEST, "tags": ["v1", "v2"]}
    told += await slave.tell((events.MANIFEST_PUT, REPO, put, other.manifest.content))
    await slave.changes.submit(PROMOTE)
    log = SqlFeed(slave.feed._rows)
    found = list(await log.log_events(0, 100))
    assert found[:2] == list(told)
    assert [event.epoch for event in found[2:]] == [2] * len(found[2:])
    assert json.loads(found[2].payload) == {"id": "id-of-2", "promotion": True}
    back = [(event.kind, json.loads(event.payload)) for event in found[3:]]
    assert back == [
        (events.TAG_SET, {"tag": "v1", "digest": IMAGE.digest}),
        (events.TAG_DELETE, {"tag": "v2"}),
        (events.MANIFEST_DELETE, {"digest": other.digest}),
    ]
    chain = CHAIN_START
    for event in found:
        assert verify(chain, event)
        chain = event.chain
    assert (await log.log_position()).chain == chain
    assert await slave.kept.upstream() is None
    assert (await slave.kept.waiting()).events == 0
    claim = Claim(2, "id-of-2", 2, told[1].chain.hex(), "http://new")
    assert await log.standing() == Standing(claim, promoted=True, former=("http://old",))
    assert not (await slave.changes.submit(PROMOTE)).changed, "the answer was lost"
    with pytest.raises(Unavailable):  # a node that shares the database and goes on following
        await slave.changes.submit(KeepSnapshot((), None, Upstream("m", snapshot=True), begins=True))
    assert not (await slave.changes.submit(Demote())).changed
    await slave.changes.submit(PutManifest(REPO, MANIFEST, ("v3",)))
    assert (await log.log_position()).serial == found[-1].serial + 1


async def test_what_waits_to_be_deleted_comes_back_with_its_tags(slave: Slave) -> None:
    await slave.copy(IMAGE)
    await slave.tell(PUT)
    await slave.changes.submit(Show(REPO, 1, (MANIFEST,), (("v1", IMAGE.digest),), ()))
    await slave.tell((events.MANIFEST_DELETE, REPO, {"digest": IMAGE.digest}, b""))
    await slave.changes.submit(PROMOTE)
    back = (await SqlFeed(slave.feed._rows).log_events(3, 100))[:2]
    assert [(event.kind, event.content) for event in back] == [
        (events.MANIFEST_PUT, MANIFEST.content),
        (events.TAG_SET, b""),
    ]
    assert json.loads(back[1].payload) == {"tag": "v1", "digest": IMAGE.digest}


async def test_who_cannot_take_over(slave: Slave) -> None:
    with pytest.raises(RequestInvalid, match="no slave"):
        await slave.changes.submit(PROMOTE)
    await slave.tell(PUT)
    for upstream in (
        Upstream("m", 1, 1, slave.chain.hex(), snapshot=True),
        Upstream("m", 1, 1, slave.chain.hex(), settled=2),
        Upstream("m", 1, 1, slave.chain.hex(), cursor="opaque"),
    ):
        await slave.changes.submit(KeepEvents((), upstream))
        with pytest.raises(RequestInvalid):
            await slave.changes.submit(PROMOTE)
    assert await slave.kept.upstream() is not None


async def test_a_former_master_takes_nothing_and_becomes_a_slave_of_its_own_log(slave: Slave) -> None:
    await slave.copy(IMAGE)
    assert not (await slave.changes.submit(Demote())).changed, "a new node has no log that anybody followed"
    await slave.changes.submit(PutManifest(REPO, MANIFEST, ("v1",)))
    log = SqlFeed(slave.feed._rows)
    events_before, head = list(await log.log_events(0, 100)), await log.log_position()
    await slave.changes.submit(SetStanding(Standing(), Standing(handing_over=1_000_060.0)))
    with pytest.raises(Unavailable):
        await slave.changes.submit(PutManifest(REPO, MANIFEST, ("v2",)))
    former = Standing(Claim(2, "id", head.serial, head.chain.hex(), "http://new"), common=head.serial)
    assert not (await slave.changes.submit(SetStanding(Standing(), former))).changed
    await slave.changes.submit(SetStanding(Standing(handing_over=1_000_060.0), former))
    with pytest.raises(ReadOnly, match="http://new"):
        await slave.changes.submit(PutManifest(REPO, MANIFEST, ("v2",)))
    assert (await slave.changes.submit(Demote())).changed
    assert await slave.feed.log_events(0, 100) == events_before
    assert await slave.feed.log_position() == head
    assert await log.standing() == Standing()
