"""The feed of a master, from a server with one worker and with two, on SQLite and on Postgres."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import requests

from registry.domain.events import EPOCH_BEGIN, MANIFEST_DELETE, MANIFEST_PUT, TAG_SET
from replication import wire
from replication.sums import SetSum
from tests.harness import feed
from tests.harness.client import RegistryClient
from tests.harness.content import index, random_bytes, small_image
from tests.harness.feed import At, Refused, check_links, snapshot
from tests.harness.hooked import hooks
from tests.harness.server import Settings, ShoalServer

HEARTBEAT = 0.3  # seconds
IMAGES = [small_image(seed) for seed in range(8100, 8110)]
KINDS = (
    pytest.param((1, False), id="one worker"),
    pytest.param((2, False), id="two workers"),
    pytest.param((2, True), id="postgres", marks=pytest.mark.require("postgres")),
)


@pytest.fixture(params=KINDS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShoalServer]:
    """Shared by these tests: each has names of its own, and begins where the log ends."""
    workers, on_postgres = request.param
    settings: Settings = {}
    if on_postgres:
        settings = {"database": {"url": request.getfixturevalue("postgres_server").new_database()}}
    with ShoalServer(tmp_path_factory.mktemp("feed") / "data", workers=workers, settings=settings) as started:
        yield started
    assert not started.complaints()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[ShoalServer]:
    """A server of one worker whose streams are silent for no longer than HEARTBEAT."""
    with ShoalServer(tmp_path / "quick", prefix=hooks(heartbeat=HEARTBEAT)) as started:
        yield started
    assert not started.complaints()


@pytest.fixture
def client(server: ShoalServer) -> Iterator[RegistryClient]:
    with RegistryClient(server.url) as found:
        yield found


def head_of(server: ShoalServer) -> wire.Position:
    with feed.log(server.host) as stream:
        return stream.hello().position


def at_head(server: ShoalServer) -> At:
    head = head_of(server)
    return At(head.serial, head.epoch, head.chain)


def push_large(client: RegistryClient, repository: str, number: int) -> None:
    """An image with a manifest that is nearly as large as one can be."""
    image = small_image(8300 + number)
    client.push_image(repository, image)
    document = {**image.manifest.json(), "annotations": {"padding": "x" * 3_900_000}}
    client.push_manifest(repository, str(number), replace(image.manifest, content=json.dumps(document).encode()))


def test_the_whole_log_and_what_comes(server: ShoalServer, client: RegistryClient) -> None:
    begin = at_head(server)
    client.push_image("log/app", IMAGES[0], "1")
    client.push_image("log/app", IMAGES[1], "1")
    with feed.log(server.host) as stream:
        hello = stream.hello()
        assert hello.version == wire.VERSION
        assert hello.registry.startswith("shoal ")
        known = stream.events(hello.position.serial)
        assert known[0].kind == EPOCH_BEGIN
        assert [event.kind for event in known[begin.serial :]] == [MANIFEST_PUT, MANIFEST_PUT]
        assert known[-1].chain.hex() == hello.position.chain
        client.push_image("log/app", IMAGES[2], "2")
        client.push_manifest("log/app", "3", IMAGES[2].manifest)
        client.delete_manifest("log/app", IMAGES[2].digest)
        new = stream.events(3)
        assert [event.kind for event in new] == [MANIFEST_PUT, TAG_SET, MANIFEST_DELETE]
        assert new[0].content == IMAGES[2].manifest.content
        assert json.loads(new[0].payload)["tags"] == ["2"]
    check_links(known + new)
    with feed.log(server.host, At.of(known[1])) as stream:  # from the middle on
        stream.hello()
        check_links(stream.events(len(known) + len(new) - 2), At.of(known[1]))


def test_streams_while_clients_push(server: ShoalServer) -> None:
    """Several streams, each with every event, in order and without a gap."""
    pushes, pushers, readers = 15, 3, 4
    expected = head_of(server).serial + pushes * pushers

    def push(pusher: int) -> None:
        with RegistryClient(server.url) as client:
            for number in range(pushes):
                client.push_image(f"streams/{pusher}", small_image(8200 + pusher * 100 + number), str(number))

    def read(late: int) -> At:
        time.sleep(late * 0.2)
        with feed.log(server.host) as stream:
            stream.hello()
            found = stream.events(expected)
            check_links(found)
            return At.of(found[-1])

    with ThreadPoolExecutor(pushers + readers) as threads:
        reading = [threads.submit(read, number) for number in range(readers)]
        list(threads.map(push, range(pushers)))
        ends = {future.result() for future in reading}
    assert ends == {at_head(server)}


def test_more_than_one_page_and_large_manifests(server: ShoalServer, client: RegistryClient) -> None:
    """More than 4 MiB of events, among them a manifest that is nearly as large as one can be."""
    for number in range(3):
        push_large(client, "large/app", number)
    with feed.log(server.host) as stream:
        found = stream.events(stream.hello().position.serial)
    check_links(found)
    assert sum(len(event.content) for event in found) > 11_000_000


def test_silence_is_told(quick: ShoalServer) -> None:
    at = at_head(quick)
    with feed.log(quick.host, at) as stream:
        stream.hello()
        beats = [next(stream) for _ in range(3)]
    for beat in beats:
        assert isinstance(beat, wire.Heartbeat)
        assert beat.serial == at.serial
        assert abs(beat.time - time.time()) < 5
    times = [beat.time for beat in beats if isinstance(beat, wire.Heartbeat)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) > HEARTBEAT * 0.8


@pytest.mark.parametrize("change", ["chain", "beyond", "epoch", "no log at all"])
def test_a_fork_is_found(server: ShoalServer, client: RegistryClient, change: str) -> None:
    client.push_image(f"fork/{change.replace(' ', '-')}", IMAGES[0], "1")
    at = at_head(server)
    other = {
        "chain": replace(at, chain="ab" * 32),
        "beyond": replace(at, serial=at.serial + 1),
        "epoch": replace(at, epoch=at.epoch + 1),
        "no log at all": At(0, 0, "ab" * 32),
    }[change]
    with pytest.raises(Refused) as refused:
        feed.log(server.host, other)
    assert refused.value.status == 409
    assert refused.value.error["code"] == "DENIED"
    detail = refused.value.error["detail"]
    assert detail["head"] == at.serial
    assert detail["after"] == other.serial
    common = {"chain": at.serial - 1, "beyond": at.serial, "epoch": at.serial - 1, "no log at all": 0}
    assert detail["in_common_at_most"] == common[change]


@pytest.mark.parametrize("query", ["after=x", "after=-1", "epoch=1.5", "chain=zz", "chain=abcd", f"after={2**63}"])
def test_a_position_that_cannot_be(server: ShoalServer, query: str) -> None:
    answer = requests.get(f"{server.url}{wire.BASE}/log?{query}", timeout=30)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("workers", [1, 2])
def test_draining_ends_streams_at_once(tmp_path: Path, workers: int) -> None:
    """Also one whose slave reads nothing: nothing waits for it."""
    settings: Settings = {"server": {"drain_timeout": "50s"}}
    with ShoalServer(tmp_path / "data", workers=workers, settings=settings) as server:
        with RegistryClient(server.url) as client:
            for number in range(4):
                push_large(client, "team/app", number)
        streams = [feed.log(server.host, at_head(server)) for _ in range(3)]
        stalled = [feed.log(server.host), snapshot(server.host)]
        for stream in streams:
            stream.hello()
        time.sleep(0.5)  # the others have filled every buffer by then
        os.kill(server.pid, signal.SIGTERM)
        begun = time.monotonic()
        for stream in streams:
            assert all(isinstance(line, wire.Heartbeat) for line in stream)
        assert time.monotonic() - begun < 2
        server.process.wait(20)
        for stream in (*streams, *stalled):
            stream.close()
    assert not server.complaints()


@dataclass
class Whole:
    """What a snapshot said, put together."""

    records: list[wire.Record] = field(default_factory=list)
    manifests: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    tags: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    ended: list[str] = field(default_factory=list)
    end: wire.Position | None = None

    def take(self, line: wire.Line) -> None:
        assert self.end is None, "something after the end"
        match line:
            case wire.Record():
                assert not self.manifests
                self.records.append(line)
            case wire.Manifest():
                assert line.repository not in self.ended
                assert line.repository not in self.tags, "a manifest after tags"
                base64.b64decode(line.content, validate=True)
                self.manifests[line.repository].add(line.digest)
            case wire.Tag():
                self.tags[line.repository][line.name] = line.digest
            case wire.RepositoryEnd():
                self.ended.append(line.repository)
            case wire.SnapshotEnd():
                self.end = line.position
            case _:
                raise AssertionError(line)


def test_a_snapshot_is_whole(server: ShoalServer, client: RegistryClient) -> None:
    names = [f"whole/app-{number:03}" for number in range(110)]  # more than are read at once
    for name in names:
        client.push_image(name, IMAGES[0], "latest")
    client.push_index("whole/index", index(IMAGES[1], IMAGES[2]), "multi")
    head = head_of(server)
    whole = Whole()
    with snapshot(server.host) as stream:
        assert stream.hello().position == head
        for line in stream:
            whole.take(line)
    assert whole.end == head
    assert whole.ended == client.catalog()
    assert {*names, "whole/index"} <= set(whole.ended)
    assert whole.tags["whole/app-000"] == {"latest": IMAGES[0].digest}
    assert len(whole.manifests["whole/index"]) == 3
    assert {record.kind for record in whole.records} == {"key"}
    assert b"PRIVATE" not in stream.raw


def test_a_snapshot_goes_on_after_a_break_while_clients_push(server: ShoalServer, client: RegistryClient) -> None:
    """What it says, with the events since its first line, is all that there is."""
    for number in range(30):
        client.push_image(f"broken/app-{number:02}", IMAGES[0], "1")
    done = threading.Event()

    def push() -> int:
        count = 0
        with RegistryClient(server.url) as pushing:
            while not done.is_set():
                image = small_image(8400 + count)
                pushing.push_image(f"broken/app-{count % 35:02}", image, "2")
                count += 1
        return count

    whole = Whole()
    with ThreadPoolExecutor(1) as threads:
        pushed = threads.submit(push)
        with snapshot(server.host) as stream:
            begin = stream.hello().position
            while whole.ended.count("broken/app-12") == 0:
                whole.take(next(stream))
        with snapshot(server.host, whole.ended[-1]) as stream:
            assert stream.hello().position.serial >= begin.serial
            for line in stream:
                assert not isinstance(line, wire.Record)
                whole.take(line)
        done.set()
        assert pushed.result() > 0
    assert whole.end is not None
    head = head_of(server)
    with feed.log(server.host, At(begin.serial, begin.epoch, begin.chain)) as stream:
        stream.hello()
        events = stream.events(head.serial - begin.serial)
    tags = {(name, tag): digest for name, found in whole.tags.items() for tag, digest in found.items()}
    for event in events:
        if event.kind == MANIFEST_PUT:
            payload = json.loads(event.payload)
            tags |= {(event.repository, tag): payload["digest"] for tag in payload["tags"]}
    there = {(name, tag): client.resolve(name, tag) for name in client.catalog() for tag in client.tags(name)}
    assert tags == there


def test_blobs_whole_and_by_ranges(server: ShoalServer, client: RegistryClient) -> None:
    content = random_bytes(3_000_000, 8500)
    digest = client.push_blob("blobs/app", content)
    address = f"{server.url}{wire.BASE}/blobs/{digest}"
    whole = requests.get(address, timeout=30)
    assert (whole.status_code, whole.content) == (200, content)
    part = requests.get(address, headers={"Range": "bytes=1000000-1999999"}, timeout=30)
    assert (part.status_code, part.content) == (206, content[1_000_000:2_000_000])
    assert part.headers["Content-Range"] == "bytes 1000000-1999999/3000000"
    rest = requests.get(address, headers={"Range": "bytes=2999990-"}, timeout=30)
    assert rest.content == content[2_999_990:]
    head = requests.head(address, timeout=30)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "3000000", b"")
    beyond = requests.get(address, headers={"Range": "bytes=3000000-"}, timeout=30)
    assert beyond.status_code == 416
    unknown = requests.get(f"{server.url}{wire.BASE}/blobs/sha256:{'0' * 64}", timeout=30)
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")
    assert requests.get(f"{server.url}{wire.BASE}/blobs/latest", timeout=30).status_code == 400


def state_of(server: ShoalServer) -> dict[str, wire.RepositoryState]:
    """Over all pages."""
    found: dict[str, wire.RepositoryState] = {}
    last = ""
    while True:
        answer = requests.get(f"{server.url}{wire.BASE}/state", params={"after": last} if last else {}, timeout=30)
        assert answer.status_code == 200, answer.text
        page = msgspec.json.decode(answer.content, type=wire.State)
        found |= {state.repository: state for state in page.repositories}
        if not page.last:
            return found
        last = page.last


def test_sums_of_repositories(server: ShoalServer, client: RegistryClient) -> None:
    """The same for what holds the same, whatever came in which order; another one after each change."""
    for number in range(105):  # more than a page
        client.push_image(f"sums/other-{number:03}", IMAGES[0], "1")
    for name, order in (("sums/a", (1, 2, 3)), ("sums/b", (3, 1, 2))):
        for number in order:
            client.push_image(name, IMAGES[number], f"v{number}")
    first = state_of(server)
    assert list(first) == client.catalog()
    assert {state.serial for state in first.values()} == {head_of(server).serial}
    assert first["sums/a"].sum == first["sums/b"].sum != ""
    with snapshot(server.host) as stream:
        total = SetSum()
        for line in stream:
            if isinstance(line, wire.Manifest) and line.repository == "sums/a":
                total.add_manifest(line.digest, line.media_type)
            elif isinstance(line, wire.Tag) and line.repository == "sums/a":
                total.add_tag(line.name, line.digest)
    assert first["sums/a"].sum == total.hex
    client.push_manifest("sums/a", "v2", IMAGES[1].manifest)
    second = state_of(server)
    assert second["sums/a"].sum != first["sums/a"].sum
    assert second["sums/b"].sum == first["sums/b"].sum


def test_reports_are_taken(server: ShoalServer) -> None:
    address = f"{server.url}{wire.BASE}/ack"
    good = requests.post(address, data=b'{"stored": 3, "visible": 2, "of": "a later version"}', timeout=30)
    assert (good.status_code, good.content) == (204, b"")
    for body in (b"", b"{}", b"[]", b'{"stored": "3", "visible": 2}', b'{"stored": -1, "visible": 0}', b"\xff"):
        assert requests.post(address, data=body, timeout=30).status_code == 400, body
    huge = b'{"stored": 99999999999999999999, "visible": 2}'
    assert requests.post(address, data=huge, timeout=30).status_code == 400
    assert requests.post(address, data=b" " * 70_000, timeout=30).status_code == 413
