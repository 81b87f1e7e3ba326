"""A slave of some repositories: it has those, and never learns of others."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from registry.domain.events import verify
from replication import wire
from tests.conftest import StartShoal
from tests.harness.accounts import ADMIN, password_of, with_accounts
from tests.harness.administration import Commands
from tests.harness.client import RegistryClient
from tests.harness.content import Image, small_image
from tests.harness.everything import PullsEverything
from tests.harness.feed import At, Refused, Stream
from tests.harness.hooked import hooks
from tests.harness.postgres import PostgresServer
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer

PATTERN, HEARTBEAT = "team/**", 0.3
MINE, OTHER = "team/app", "planted/secret"
HIDDEN = ("planted", '"bob', "mallory", f'"{ADMIN}"', "hidden-group", "other-slave")
"""What no slave of PATTERN may read anywhere."""


@dataclass(frozen=True)
class Guarded:
    """A master with accounts: ann and the group devs (carol) are granted something of team/**, others are not."""

    server: ShoalServer
    commands: Commands
    tokens: dict[str, str]

    def client(self, name: str = ADMIN) -> RegistryClient:
        client = RegistryClient(self.server.url)
        client.session.auth = (name, password_of(name))
        return client

    def push(self, repository: str, number: int, tag: str = "v1") -> Image:
        image = small_image(number)
        with self.client() as client:
            client.push_image(repository, image, tag)
        return image

    def stream(self, path: str, name: str = "some", **query: str) -> Stream:
        return Stream(self.server.host, path, query, self.tokens[name])

    def get(self, path: str, name: str = "some") -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[name]}", "Connection": "close"}
        return requests.get(f"{self.server.url}{wire.BASE}/{path}", headers=headers, timeout=30)

    def cursor(self, name: str) -> str:
        """One of that slave, of now."""
        with self.stream("snapshot", name) as stream:
            return stream.hello().cursor

    def snapshot(self, **query: str) -> tuple[wire.Hello, list[wire.Line], bytes]:
        with self.stream("snapshot", **query) as stream:
            hello = stream.hello()
            return hello, list(stream), stream.raw


def guard(data: Path, url: str = "") -> dict[str, str]:
    return with_accounts(
        data,
        ["ann", "carol", "bob", "mallory"],
        [("ann", "team/app", "pull,push"), ("@devs", "*/app", "pull"), ("bob", "planted/**", "pull")],
        groups={"devs": ["carol"], "hidden-group": ["mallory"]},
        replicas={"other-slave": [], "some": [PATTERN], "few": [MINE], "full": []},
        url=url,
    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    data = tmp_path_factory.mktemp("limited") / "master"
    tokens = guard(data)
    with ShoalServer(data, prefix=hooks(heartbeat=HEARTBEAT)) as server:
        yield Guarded(server, Commands("--data", data), tokens)
    assert not server.complaints()


def start_slave(start_shoal: StartShoal, url: str, token: str = "", **more: Any) -> ShoalServer:
    settings = {"role": "slave", "master": url, "read_through": "off", **({"token": token} if token else {}), **more}
    return start_shoal(settings={"replication": settings})


def check_hidden(said: bytes, *images: Image) -> None:
    found = said + b"".join(
        base64.b64decode(line["content"])
        for line in map(json.loads, filter(lambda line: line.startswith(b'{"type":"'), said.splitlines()))
        if line.get("content")
    )
    for word in (*HIDDEN, *(image.digest for image in images)):
        assert word.encode() not in found, word


def catalog(server: ShoalServer, name: str = "") -> list[str]:
    with RegistryClient(server.url) as client:
        if name:
            client.session.auth = (name, password_of(name))
        return sorted(client.catalog())


def shows(server: ShoalServer, image: Image, tag: str = "v1", name: str = "ann") -> bool:
    with RegistryClient(server.url) as client:
        client.session.auth = (name, password_of(name))
        answer = client.request("GET", f"/v2/{MINE}/manifests/{tag}", headers={"Accept": "*/*"})
        return answer.status_code == 200 and answer.content == image.manifest.content


def test_it_has_its_repositories_and_no_other(guarded: Guarded, start_shoal: StartShoal) -> None:
    first, _ = guarded.push(MINE, 1), guarded.push(OTHER, 2)
    slave = start_slave(start_shoal, guarded.server.url, guarded.tokens["some"])
    wait_until(lambda: shows(slave, first), "the slave shows what was there")
    guarded.push(OTHER, 3, "v2")
    second = guarded.push(MINE, 4, "v2")
    wait_until(lambda: shows(slave, second, "v2", "carol"), "the slave shows what comes, to a member of the group")
    assert catalog(slave, "ann") == [MINE]
    with RegistryClient(slave.url) as client:
        client.session.auth = ("bob", password_of("bob"))
        assert client.request("GET", f"/v2/{MINE}/manifests/v1").status_code == 401
        client.session.auth = None
        assert client.request("GET", f"/v2/{MINE}/manifests/v1").status_code == 401
    kept = b"".join(file.read_bytes() for file in slave.data.glob("shoal.db*"))
    assert MINE.encode() in kept
    check_hidden(kept)
    assert slave.complaints() == []


def test_no_answer_tells_of_others(guarded: Guarded) -> None:
    """Every byte of the feed, while others push, delete, are granted something and get tokens."""
    mine, other = guarded.push(MINE, 11), guarded.push(OTHER, 12)
    hello, lines, said = guarded.snapshot()
    assert {line.repository for line in lines if isinstance(line, wire.RepositoryEnd)} == {MINE}
    with guarded.stream("log", cursor=hello.cursor) as log:
        log.hello()
        later = guarded.push(OTHER, 13, "later")
        guarded.commands("grant", "set", "bob", "planted/more", "pull")
        guarded.commands("replication", "token", "create", f"planted-{time.time_ns()}")
        guarded.push(MINE, 14, "later")
        events = log.events_of_limited(1)
        said += log.raw
    assert [(event.serial, event.repository) for event in events] == [(1, MINE)]
    with guarded.stream("log") as log:
        log.hello()
        whole = log.events_of_limited(3)
        said += log.raw
    assert {event.repository for event in whole} <= {"", MINE}
    for path in (f"state?cursor={hello.cursor}", "snapshot?after=planted", "log?after=1", "epoch", "blobs/sha256:00"):
        said += guarded.get(path).content
    check_hidden(said, other, later)
    assert mine.digest.encode() in said


def test_numbers_do_not_betray_others(guarded: Guarded) -> None:
    """What a quiet slave is sent has one length and one number, whatever happens elsewhere; only time goes on."""
    guarded.push(MINE, 21)
    hello, lines, _ = guarded.snapshot()
    end = lines[-1]
    assert isinstance(end, wire.SnapshotEnd)
    assert (hello.position.serial, end.position.serial) == (0, 0)
    with guarded.stream("log", cursor=hello.cursor) as log:
        log.hello()
        quiet = log.beat()
        guarded.push(OTHER, 22)
        guarded.commands("grant", "set", "bob", f"planted/{time.time_ns()}", "pull")
        with guarded.client() as client:
            client.request("DELETE", f"/v2/{OTHER}/manifests/v1")
        busy = [log.beat() for _ in range(3)]
    assert {(beat.serial, len(beat.cursor)) for beat in (quiet, *busy)} == {(0, len(hello.cursor))}
    assert len({beat.cursor for beat in (quiet, *busy)}) == 4, "one that stays would say that nothing happened"
    for name in ("some", "few"):
        states = guarded.get(f"state?cursor={guarded.cursor(name)}", name).json()
        assert {(state["repository"], state["serial"]) for state in states["repositories"]} == {(MINE, 0)}
        assert states["last"] == ""


def test_its_log_is_whole_and_chained(guarded: Guarded) -> None:
    with guarded.stream("log") as log:
        log.hello()
        found = log.events_of_limited(1)
        for number in range(3):
            guarded.push(OTHER, 31, f"v{number}")
            guarded.push(MINE, 32, f"n{time.time_ns()}")
        while found[-1].repository != MINE or len(found) < 4:
            found += log.events_of_limited(1)
    chain = bytes(32)
    for number, line in enumerate(found, 1):
        event = line.to_journal()
        assert event.serial == number
        assert verify(chain, event)
        chain = event.chain
    at = found[-2]
    with guarded.stream("log", cursor=at.cursor) as log:
        assert log.hello().position == wire.Position(at.serial, at.epoch, at.chain)
        assert log.events_of_limited(1)[0].serial == found[-1].serial


@pytest.mark.parametrize("route", ["log", "state", "snapshot"])
def test_a_cursor_that_is_not_its_own(guarded: Guarded, route: str) -> None:
    cursor, of_few = guarded.cursor("some"), guarded.cursor("few")
    flipped = ("B" if cursor[60] == "A" else "A").join((cursor[:60], cursor[61:]))
    more = "&after=team" if route == "snapshot" else ""
    for wrong, status in ((flipped, 409), (cursor[:-4], 409), ("A" * len(cursor), 409), ("%FF", 409), (of_few, 410)):
        answer = guarded.get(f"{route}?cursor={wrong}{more}")
        assert answer.status_code == status, wrong
        assert "detail" not in answer.json()["errors"][0]
    assert guarded.get(f"{route}?cursor={cursor}{more}", "full").status_code == 410


def test_a_place_without_a_cursor_is_none(guarded: Guarded) -> None:
    """Not even the master's own: a slave that had everything begins with a snapshot."""
    with guarded.stream("log", "full") as log:
        at = At.of(_first(log))
    answer = guarded.get(f"log?after={at.serial}&epoch={at.epoch}&chain={at.chain}")
    assert answer.status_code == 410
    assert "detail" not in answer.json()["errors"][0]
    for path in ("epoch", "handover", "claim", "repository?name=planted/secret"):
        assert guarded.get(path).status_code in (403, 404, 405), path


def test_blobs_of_others_are_not_there(guarded: Guarded) -> None:
    mine, other = guarded.push(MINE, 41), guarded.push(OTHER, 42)
    nowhere = f"sha256:{'0' * 64}"
    for blob in mine.blobs:
        assert guarded.get(f"blobs/{blob.digest}").content == blob.content
    told = guarded.get(f"blobs/{nowhere}")
    assert told.status_code == 404
    for blob in other.blobs:
        if blob.digest not in {each.digest for each in mine.blobs}:
            answer = guarded.get(f"blobs/{blob.digest}")
            assert (answer.status_code, answer.text.replace(blob.digest, nowhere)) == (404, told.text)
        assert guarded.get(f"blobs/{blob.digest}", "full").status_code == 200


def test_accounts_come_with_their_grants_and_go_with_them(guarded: Guarded, start_shoal: StartShoal) -> None:
    image = guarded.push(MINE, 51)
    slave = start_slave(start_shoal, guarded.server.url, guarded.tokens["some"])
    wait_until(lambda: shows(slave, image), "the slave shows it")
    assert not shows(slave, image, name="bob")
    guarded.commands("grant", "set", "bob", "**", "pull")
    wait_until(lambda: shows(slave, image, name="bob"), "what was granted acts at the slave")
    guarded.commands("grant", "delete", "bob", "**")
    wait_until(lambda: not shows(slave, image, name="bob"), "what was withdrawn acts at the slave")
    check_hidden(accounts_of(slave))
    assert b'"ann"' in accounts_of(slave)


def test_it_goes_on_where_it_was_killed(guarded: Guarded, start_shoal: StartShoal) -> None:
    image = guarded.push(MINE, 61)
    slave = start_slave(start_shoal, guarded.server.url, guarded.tokens["some"])
    wait_until(lambda: shows(slave, image), "the slave shows it")
    with PullsEverything(slave.url, "ann", password_of("ann")) as everything:
        for number in range(3):
            slave.kill()
            guarded.push(OTHER, 62 + number)
            image = guarded.push(MINE, 70 + number)
            slave.start()
            wait_until(lambda image=image: shows(slave, image), "the slave goes on")  # type: ignore[misc]
    assert everything.violations == []
    assert "a snapshot was taken" in slave.log_text()
    assert slave.log_text().count("a snapshot was taken") == 1, "its cursor was good after each kill"


def test_it_is_no_source(guarded: Guarded, start_shoal: StartShoal) -> None:
    image = guarded.push(MINE, 81)
    slave = start_slave(start_shoal, guarded.server.url, guarded.tokens["full"], repositories=[PATTERN])
    wait_until(lambda: shows(slave, image), "the slave shows it")
    check_hidden(accounts_of(slave))
    assert catalog(slave, "ann") == [MINE]
    blob = image.blobs[0].digest
    for path in ("log", "snapshot", "state", f"blobs/{blob}"):
        headers = {"Authorization": f"Bearer {guarded.tokens['full']}"}
        answer = requests.get(f"{slave.url}{wire.BASE}/{path}", headers=headers, timeout=30)
        assert answer.status_code in (401, 403), path
    status = [each for each in guarded.commands.json("replication", "status") if each["name"] == "full"]
    assert status[0]["stored"] > 10, "in serials of the master"


def test_both_patterns_hold(guarded: Guarded) -> None:
    guarded.push("team/more", 91)
    with guarded.stream("snapshot", "some", repo="*/app") as stream:
        names = {line.repository for line in stream if isinstance(line, wire.RepositoryEnd)}
    assert names == {MINE}
    with pytest.raises(Refused) as refused:
        guarded.stream("snapshot", "some", repo="NO")
    assert refused.value.status == 400


def test_a_token_that_is_taken_back(guarded: Guarded) -> None:
    token = guarded.commands("replication", "token", "create", "gone", "--repo", PATTERN).strip()
    with Stream(guarded.server.host, "log", {}, token) as log:
        log.hello()
        guarded.commands("replication", "token", "delete", "gone")
        begun = time.monotonic()
        list(log)
        assert time.monotonic() - begun < 3 * HEARTBEAT + 2
    with pytest.raises(Refused) as refused:
        Stream(guarded.server.host, "log", {}, token)
    assert refused.value.status == 401


def test_a_master_without_grants_does_not_open_its_slave(start_shoal: StartShoal, tmp_path: Path) -> None:
    """The slave is told of no account that is somebody's, and yet lets nobody in without one."""
    tokens = with_accounts(tmp_path / "shoal1", replicas={"some": [PATTERN]})
    master = start_shoal()
    image = small_image(1)
    with RegistryClient(master.url) as client:
        client.session.auth = (ADMIN, password_of(ADMIN))
        client.push_image(MINE, image, "v1")
    slave = start_slave(start_shoal, master.url, tokens["some"])
    wait_until(lambda: b"team/app" in (slave.data / "shoal.db-wal").read_bytes(), "the slave was told")
    assert requests.get(f"{slave.url}/v2/", timeout=30).status_code == 401
    assert ADMIN.encode() not in accounts_of(slave)


@pytest.mark.require("postgres")
def test_of_a_master_on_postgres(start_shoal: StartShoal, tmp_path: Path, postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    tokens = guard(tmp_path / "shoal1", url)
    master = start_shoal(settings={"database": {"url": url}})
    images = small_image(1), small_image(2)
    with RegistryClient(master.url) as client:
        client.session.auth = (ADMIN, password_of(ADMIN))
        client.push_image(OTHER, images[1], "v1")
        client.push_image(MINE, images[0], "v1")
        slave = start_slave(start_shoal, master.url, tokens["some"])
        wait_until(lambda: shows(slave, images[0]), "the slave shows what was there")
        client.push_image(OTHER, images[1], "v2")
        client.push_image(MINE, images[0], "v2")
        wait_until(lambda: shows(slave, images[0], "v2"), "the slave shows what comes")
    assert catalog(slave, "ann") == [MINE]
    check_hidden(accounts_of(slave))


def accounts_of(slave: ShoalServer) -> bytes:
    """All records that a slave has, as JSON; its deleted rows do not count."""
    with sqlite3.connect(f"file:{slave.data / 'shoal.db'}?mode=ro", uri=True) as connection:
        found = connection.execute("SELECT kind, key, value FROM access_records").fetchall()
    return json.dumps(found).replace('\\"', '"').encode()


def _first(log: Stream) -> Any:
    log.hello()
    return log.events(1)[0]
