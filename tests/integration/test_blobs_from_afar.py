"""Blobs that come as streams, over real connections: sent on, redirected, cut, and out of the cache.

The store is in memory, so that each chunk can be held back or fail.
"""

from __future__ import annotations

import asyncio
import email.parser
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest

from registry.domain.changes import LinkBlob
from registry.errors import RegistryError, StorageFailure, Unavailable
from registry.http.auditing import NoAudit
from registry.http.blobs import BlobHandlers
from registry.http.dispatch import Dispatcher
from registry.http.gate import OpenGate
from registry.http.redirects import Mode, Redirects
from registry.http.server import Listener
from registry.ports import BlobStore, StoredBlob
from registry.services.manifests import ManifestService
from registry.services.pull import PullService
from registry.storage.cache.cached_blobs import CachedBlobs
from registry.storage.files import DataDirectory
from registry.storage.memory.metadata import MemoryMetadata
from registry.storage.memory.streams import MemoryStreams
from registry.telemetry.requests import AnsweredRequest
from tests.contracts.adapters import ManualClock
from tests.harness.content import random_bytes
from tests.unit.storage.cache.caches import Counts

SIZE = 1_000_000
CONTENT = random_bytes(SIZE)
STALL = 1.0
LARGE = 200_000_000
"""More than all buffers on the way to a client that does not read."""


@dataclass
class Registry:
    store: MemoryStreams
    url: str
    session: aiohttp.ClientSession
    metadata: MemoryMetadata
    answered: list[AnsweredRequest]

    async def add(self, content: bytes) -> str:
        """A blob of the repository; returns its path."""
        return await self.link(self.store.add(content))

    async def link(self, blob: StoredBlob) -> str:
        await self.metadata.submit(LinkBlob("repo", str(blob.digest), blob.size, blob.location))
        return f"/v2/repo/blobs/{blob.digest}"

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> aiohttp.client._RequestContextManager:  # the type has no public name
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.request(method, self.url + path, headers=named, allow_redirects=False)


StartRegistry = Callable[..., "asyncio.Future[Registry]"]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
async def start(tmp_path: Path, executor: ThreadPoolExecutor) -> AsyncIterator[StartRegistry]:
    """Starts the handlers of blobs on a listener. `cache`: its size in bytes."""
    async with AsyncExitStack() as running:

        async def begin(mode: Mode = "never", stream_networks: tuple[str, ...] = (), cache: int = 0) -> Registry:
            metadata, streams, answered = MemoryMetadata(ManualClock()), MemoryStreams(), list[AnsweredRequest]()
            store: BlobStore = streams
            if cache:
                store = CachedBlobs(streams, DataDirectory(tmp_path, 0), executor, cache, Counts())
            pull = PullService(metadata, store, metadata, ManualClock(), 1000.0)
            trusted = [ip_network("127.0.0.0/8")]
            redirects = Redirects(mode, [ip_network(network) for network in stream_networks], trusted)
            routes = BlobHandlers(pull, ManifestService(metadata), redirects).routes()
            listener = Listener(Dispatcher(routes, answered.append, trusted, OpenGate(), NoAudit()), 1000, 30.0, STALL)
            server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
            running.push_async_callback(listener.drain, 1.0)
            running.callback(server.close)
            session = await running.enter_async_context(aiohttp.ClientSession())
            port = server.sockets[0].getsockname()[1]
            return Registry(streams, f"http://127.0.0.1:{port}", session, metadata, answered)

        yield lambda *args, **options: asyncio.ensure_future(begin(*args, **options))


@pytest.fixture(params=["streamed", "through a cache"])
async def registry(request: pytest.FixtureRequest, start: StartRegistry) -> Registry:
    return await start(cache=0 if request.param == "streamed" else 4 * SIZE)


def failing(at: int, error: Exception) -> Callable[[int], object]:
    async def before(position: int) -> None:
        if position >= at:
            raise error

    return before


class TestStreaming:
    async def test_whole(self, registry: Registry) -> None:
        path = await registry.add(CONTENT)
        for _ in range(3):
            async with registry.ask(path) as answer:
                assert (answer.status, await answer.read()) == (200, CONTENT)
                assert answer.headers["Content-Length"] == str(SIZE)
                assert answer.headers["Docker-Content-Digest"] == path.rpartition("/")[2]
        assert registry.answered[-1].sent == SIZE

    async def test_an_empty_blob(self, registry: Registry) -> None:
        async with registry.ask(await registry.add(b"")) as answer:
            assert (answer.status, await answer.read()) == (200, b"")

    @pytest.mark.parametrize(("start_", "stop"), [(0, 1), (10, 200_000), (SIZE - 1, SIZE), (0, SIZE)])
    async def test_a_range(self, registry: Registry, start_: int, stop: int) -> None:
        path = await registry.add(CONTENT)
        async with registry.ask(path, Range=f"bytes={start_}-{stop - 1}") as answer:
            assert (answer.status, await answer.read()) == (206, CONTENT[start_:stop])
            assert answer.headers["Content-Range"] == f"bytes {start_}-{stop - 1}/{SIZE}"
        assert registry.store.reads == [(start_, stop)]

    async def test_several_ranges(self, registry: Registry) -> None:
        path = await registry.add(CONTENT)
        async with registry.ask(path, Range="bytes=0-9,500-500,-5") as answer:
            body = await answer.read()
            assert (answer.status, len(body)) == (206, int(answer.headers["Content-Length"]))
            head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser().parsebytes(head + body)
        boundary = str(message.get_boundary()).encode()
        parts = [part.partition(b"\r\n\r\n")[2] for part in body.split(b"\r\n--" + boundary)[1:-1]]
        assert parts == [CONTENT[:10], CONTENT[500:501], CONTENT[-5:]]

    async def test_a_range_that_is_not_there(self, registry: Registry) -> None:
        async with registry.ask(await registry.add(CONTENT), Range=f"bytes={SIZE}-") as answer:
            assert answer.status == 416
        assert registry.store.reads == []

    async def test_a_head_reads_nothing(self, registry: Registry) -> None:
        async with registry.ask(await registry.add(CONTENT), "HEAD") as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))
        assert registry.store.reads == []


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "status"), [(Unavailable("away"), 503), (StorageFailure("refused"), 500), (ValueError("a bug"), 500)]
    )
    @pytest.mark.parametrize("asked", [None, "bytes=5-9", "bytes=0-9,20-29"])
    async def test_before_the_first_byte_is_an_answer(
        self, start: StartRegistry, error: Exception, status: int, asked: str | None
    ) -> None:
        registry = await start()
        path = await registry.add(CONTENT)
        registry.store.before = failing(0, error)  # type: ignore[assignment]
        async with registry.ask(path, **({"Range": asked} if asked else {})) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
            assert (await answer.json())["errors"]
            assert ("Retry-After" in answer.headers) == (status == 503)
        registry.store.before = failing(SIZE, error)  # type: ignore[assignment]
        async with registry.ask(path) as answer:
            assert await answer.read() == CONTENT

    async def test_bytes_that_are_missing(self, registry: Registry) -> None:
        path = await registry.link(StoredBlob(registry.store.add(CONTENT).digest, SIZE, "gone"))
        registry.store.contents.clear()
        for asked in ({}, {"Range": "bytes=0-9,20-29"}):
            async with registry.ask(path, **asked) as answer:
                assert (answer.status, (await answer.json())["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")

    @pytest.mark.parametrize("error", [Unavailable("away"), StorageFailure("changed"), ValueError("a bug")])
    async def test_after_the_first_byte_is_a_cut(self, registry: Registry, error: RegistryError) -> None:
        path = await registry.add(CONTENT)
        registry.store.before = failing(500_000, error)  # type: ignore[assignment]
        async with registry.ask(path) as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        await asyncio.sleep(0.05)
        assert registry.answered[-1].status == 499

    async def test_fewer_bytes_than_there_should_be_are_a_cut(self, registry: Registry) -> None:
        blob = registry.store.add(CONTENT)
        registry.store.contents[blob.digest] = CONTENT[:-1]
        async with registry.ask(await registry.link(blob)) as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()


class TestClients:
    async def test_one_that_does_not_read_stops_the_store_and_is_cut(self, start: StartRegistry) -> None:
        registry, given = await start(), 0
        path = await registry.add(bytes(LARGE))

        async def before(position: int) -> None:
            nonlocal given
            given = position

        registry.store.before = before
        before_ = time.monotonic()
        with socket.create_connection(("127.0.0.1", int(registry.url.rpartition(":")[2]))) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            async with asyncio.timeout(STALL * 8):
                while not registry.answered:
                    await asyncio.sleep(0.05)
        assert registry.answered[0].status == 499
        assert time.monotonic() - before_ >= STALL
        assert given < LARGE / 10, "the store was read on although the client did not"

    async def test_one_that_goes_away_ends_the_read(self, registry: Registry) -> None:
        path, given = await registry.add(CONTENT), 0

        async def before(position: int) -> None:
            nonlocal given
            given = position
            await asyncio.sleep(0.05)

        registry.store.before = before
        async with registry.ask(path) as answer:
            await answer.content.readexactly(100_000)
            answer.close()
        async with asyncio.timeout(5):
            while not registry.answered:
                await asyncio.sleep(0.01)
        assert registry.answered[0].status == 499
        await asyncio.sleep(0.2)
        assert given < SIZE / 2

    async def test_many_with_a_cache_cost_one_read(self, start: StartRegistry) -> None:
        registry = await start(cache=4 * SIZE)
        path = await registry.add(CONTENT)

        async def one() -> bytes:
            async with registry.ask(path) as answer:
                return await answer.read()

        for _ in range(2):
            assert await asyncio.gather(*(one() for _ in range(50))) == [CONTENT] * 50
        assert registry.store.reads == [(0, SIZE)]

    async def test_what_is_cached_needs_no_store(self, start: StartRegistry, tmp_path: Path) -> None:
        registry = await start(cache=4 * SIZE)
        path = await registry.add(CONTENT)
        async with registry.ask(path) as answer:
            await answer.read()
        registry.store.before = failing(0, Unavailable("away"))  # type: ignore[assignment]
        async with registry.ask(path) as answer:
            assert (answer.status, await answer.read()) == (200, CONTENT)
        async with registry.ask(path, Range="bytes=5-9,20-29") as answer:
            assert answer.status == 206
        assert len([*(tmp_path / "cache").iterdir()]) == 2, "a lock and a blob"


class TestRedirects:
    @pytest.fixture
    async def registry(self, start: StartRegistry) -> Registry:
        registry = await start("auto", ("10.0.0.0/8", "192.0.2.7/32"))
        registry.store.address = "http://store.example"
        return registry

    async def test_the_answer(self, registry: Registry) -> None:
        path = await registry.add(CONTENT)
        digest = path.rpartition("/")[2]
        async with registry.ask(path) as answer:
            assert (answer.status, await answer.read()) == (307, b"")
            assert answer.headers["Location"] == f"http://store.example/blobs/{digest.partition(':')[2]}"
            assert answer.headers["Docker-Content-Digest"] == digest
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Length"] == "0"
        assert registry.store.reads == []

    async def test_a_range_is_asked_of_the_store(self, registry: Registry) -> None:
        async with registry.ask(await registry.add(CONTENT), Range="bytes=5-9") as answer:
            assert answer.status == 307

    async def test_a_head_is_answered_here(self, registry: Registry) -> None:
        async with registry.ask(await registry.add(CONTENT), "HEAD") as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_what_the_client_has_is_304(self, registry: Registry, method: str) -> None:
        path = await registry.add(CONTENT)
        async with registry.ask(path, method, If_None_Match=f'"{path.rpartition("/")[2]}"') as answer:
            assert answer.status == 304

    async def test_a_blob_of_another_repository_is_404(self, registry: Registry) -> None:
        path = await registry.add(CONTENT)
        async with registry.ask(path.replace("/repo/", "/other/")) as answer:
            assert answer.status == 404

    @pytest.mark.parametrize(
        ("forwarded", "status"), [("192.0.2.1", 307), ("192.0.2.7", 200), ("10.9.9.9", 200), ("2001:db8::1", 307)]
    )
    async def test_by_the_address_that_a_proxy_tells(self, registry: Registry, forwarded: str, status: int) -> None:
        async with registry.ask(await registry.add(CONTENT), X_Forwarded_For=forwarded) as answer:
            assert answer.status == status
            assert await answer.read() == (CONTENT if status == 200 else b"")

    async def test_where_there_is_no_address_the_blob_is_streamed(self, registry: Registry) -> None:
        registry.store.address = ""
        async with registry.ask(await registry.add(CONTENT)) as answer:
            assert (answer.status, await answer.read()) == (200, CONTENT)
