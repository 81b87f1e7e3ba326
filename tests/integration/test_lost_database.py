"""Postgres goes away: nothing acknowledged is lost, nothing is made twice, and the nodes go on by themselves."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Literal

import pytest

from registry.domain.changes import Outcome
from registry.errors import Unavailable
from tests.harness.database_node import DatabaseNode, database_node, manifest, numbers_of, put, whole_journal
from tests.harness.postgres import PostgresServer

pytestmark = pytest.mark.require("postgres")

NODES, CLIENTS = 3, 4


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that tests may kill."""
    with PostgresServer() as server:
        yield server


async def submitted(node: DatabaseNode, number: int) -> int:
    """Puts manifest `number` as a client does, again after each 503; how many of these there were."""
    refused = 0
    while True:
        try:
            await node.changes.submit(put(number))
        except Unavailable:
            refused += 1
        else:
            return refused


async def test_killing_it_during_writes_loses_nothing_that_was_acknowledged(server: PostgresServer) -> None:
    url, acknowledged, stop = server.new_database(), list[int](), asyncio.Event()

    async def client(node: DatabaseNode, first: int) -> None:
        number = first
        while not stop.is_set():
            await submitted(node, number)
            acknowledged.append(number)
            number += NODES * CLIENTS

    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(database_node(url)) for _ in range(NODES)]
        clients = [asyncio.create_task(client(nodes[n % NODES], n)) for n in range(NODES * CLIENTS)]
        for _ in range(3):
            before = len(acknowledged)
            while len(acknowledged) < before + 60:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        before = len(acknowledged)
        while len(acknowledged) < before + 60:
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*clients)
        made = numbers_of(await whole_journal(nodes[0].reader))
        assert sorted(made) == sorted(acknowledged), "each acknowledged change is there once"
        for node in nodes:
            last = await node.cached.manifest_by_digest("team/app", str(put(acknowledged[-1]).manifest.digest))
            assert last is not None
            assert last.content == manifest(acknowledged[-1])


async def test_while_it_is_away_clients_are_told_to_come_again(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.storage.metadata.postgres_writer._PATIENCE", 0.3)
    async with database_node(server.new_database()) as node:
        await node.changes.submit(put(1, "latest"))
        await node.cached.manifest_by_tag("team/app", "latest")
        server.kill()
        with pytest.raises(Unavailable):
            await node.changes.submit(put(2, "latest"))
        with pytest.raises(Unavailable):
            await node.cached.manifest_by_tag("team/app", "latest")
        with pytest.raises(Unavailable):
            await node.reader.tags("team/app", "", 10)
        with pytest.raises(Unavailable):
            await node.reader.referrers("team/app", "sha256:0", None, "", 10)
        with pytest.raises(Unavailable):
            await node.reader.check()
        server.start()
        assert await node.changes.submit(put(2, "latest")) == Outcome()
        found = await node.cached.manifest_by_tag("team/app", "latest")
        assert found is not None
        assert found.content == manifest(2)


class CommitProxy:
    """Between a writer and the server. Armed, it breaks the next connection that commits.

    "before": the server never hears of the COMMIT. "after": it does it, and its answer is lost.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.armed: Literal["", "before", "after"] = ""
        self.struck = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.armed and b"COMMIT" in data:
                    kind, self.armed, self.struck = self.armed, "", self.struck + 1
                    # both ends see the connection break, and the answer of the server goes nowhere
                    client.shutdown(socket.SHUT_RDWR)
                    if kind == "after":
                        server.sendall(data)
                    break
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        for end in (client, server):
            end.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
async def proxy(postgres_server: PostgresServer) -> AsyncIterator[CommitProxy]:
    proxy = CommitProxy(postgres_server.port)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_made_once(
    postgres_server: PostgresServer, proxy: CommitProxy, when: Literal["before", "after"]
) -> None:
    """Others write meanwhile, so that nothing but the writer's own mark can tell what became of it."""
    url = postgres_server.new_database()
    through = url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    async with database_node(url) as other, database_node(through) as node:
        await node.changes.submit(put(0))
        for number in range(1, 20, 2):
            proxy.armed = when
            beside = asyncio.create_task(other.changes.submit(put(number + 1)))
            assert await node.changes.submit(put(number)) == Outcome()
            await beside
        assert proxy.struck == 10
        made = numbers_of(await whole_journal(other.reader))
        assert sorted(made) == list(range(21))
