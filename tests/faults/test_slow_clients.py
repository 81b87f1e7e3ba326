"""Clients that are slow, idle or many: bounded in time, number and memory."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import datadir
from tests.faults.conftest import StartNode
from tests.faults.hostile import UPLOAD, head
from tests.faults.node import Node
from tests.faults.raw import resident, seconds_until_closed
from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, random_bytes, small_image
from tests.harness.process import wait_until

IDLE, BODY = 2.0, 1.5
SLACK = 4.0
"""Seconds that a busy machine may add."""
MOST = 64


@pytest.fixture
def node(start_node: StartNode) -> Iterator[Node]:
    """Short times and few connections; afterwards it still works and complained of nothing."""
    limits = {"idle_timeout": IDLE, "body_timeout": BODY, "max_connections": MOST}
    node = start_node(settings={"server": limits, "collect": {"interval": 3600}})
    with RegistryClient(node.url) as client:
        client.push_image("app", small_image(), "latest")
    yield node
    with RegistryClient(node.url) as client:
        client.check_image("app", small_image(), "latest")
    assert not node.complaints()


def connect(node: Node) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=10)


def drip(connection: socket.socket, data: bytes, interval: float, limit: float) -> float:
    """Send one byte at a time until the server closes; the seconds that took."""
    started = time.monotonic()
    connection.settimeout(interval)
    for byte in data:
        if time.monotonic() - started > limit:
            break
        try:
            connection.sendall(bytes([byte]))
            if not connection.recv(1000):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


def test_idle_connections_are_closed(node: Node) -> None:
    """Before the first request, and after one."""
    with connect(node) as fresh, connect(node) as used:
        used.sendall(head("GET", "/v2/"))
        assert used.recv(1000).startswith(b"HTTP/1.1 200")
        with ThreadPoolExecutor(2) as pool:
            times = list(pool.map(lambda link: seconds_until_closed(link, IDLE + SLACK), (fresh, used)))
    assert all(seconds < IDLE + SLACK for seconds in times), times


def test_slow_head_is_cut(node: Node) -> None:
    """One byte of a request head now and then does not keep a connection open."""
    with connect(node) as connection:
        request = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 1000
        assert drip(connection, request, 0.2, IDLE + SLACK) < IDLE + SLACK


def test_slow_second_head_is_cut(node: Node) -> None:
    with connect(node) as connection:
        connection.sendall(head("GET", "/v2/"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        request = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 1000
        assert drip(connection, request, 0.2, IDLE + SLACK) < IDLE + SLACK


@pytest.mark.parametrize("path", ["/v2/app/manifests/x", "/v2/app/blobs/uploads/?digest=" + digest_of(b"x" * 1000)])
def test_stalled_body_is_cut(node: Node, path: str) -> None:
    """A body that stops gets 408, and the connection ends; nothing is left of it."""
    method = "PUT" if "manifests" in path else "POST"
    with connect(node) as connection:
        connection.sendall(head(method, path, "Content-Length: 1000") + b"x" * 10)
        connection.settimeout(BODY + SLACK)
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        assert seconds_until_closed(connection, SLACK) < SLACK
    assert datadir.leftovers(node.data) == []


def test_slow_but_steady_upload_is_served(node: Node) -> None:
    """A session never expires under a client that still sends."""
    content = random_bytes(30, 1)
    with connect(node) as connection:
        path = f"{UPLOAD}?digest={digest_of(content)}"
        connection.sendall(head("POST", path, f"Content-Length: {len(content)}"))
        for byte in content:
            connection.sendall(bytes([byte]))
            time.sleep(0.15)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")


def test_slow_reader_is_cut(node: Node) -> None:
    """A client that stops reading a large blob loses its connection after body_timeout, and costs no memory."""
    with RegistryClient(node.url) as client:
        digest = client.push_blob("app", random_bytes(60_000_000, 2))
        before = resident(node.pid)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(connect(node))
                connection.sendall(head("GET", f"/v2/app/blobs/{digest}"))
            time.sleep(1.0)
            assert resident(node.pid) - before < 30_000_000
            wait_until(lambda: established(node) <= 1, "the slow readers are cut", BODY + SLACK * 3)
        client.request("GET", "/v2/", want=200)


def established(node: Node) -> int:
    """How many connections the server itself holds, unread data or not (proc(5), /proc/net/tcp)."""
    wanted, count = f"0100007F:{node.port:04X}", 0
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123 - not a file of the test
        for line in table:
            fields = line.split()
            count += fields[1] == wanted and fields[3] == "01"
    return count


def test_flood_of_connections(node: Node) -> None:
    """Beyond max_connections new ones are closed at once; those that are there go on, and later ones come in again."""
    with connect(node) as early:
        early.sendall(head("GET", "/v2/"))
        assert early.recv(1000).startswith(b"HTTP/1.1 200")
        with contextlib.ExitStack() as stack:
            before = resident(node.pid)
            for _ in range(MOST * 5):
                stack.enter_context(connect(node))
            wait_until(lambda: established(node) <= MOST, "the flood is bounded", IDLE + SLACK)
            early.sendall(head("GET", "/v2/"))
            assert early.recv(1000).startswith(b"HTTP/1.1 200")
            assert resident(node.pid) - before < 20_000_000
    with RegistryClient(node.url) as client:
        wait_until(lambda: established(node) < MOST, "there is room again", IDLE + SLACK)
        client.request("GET", "/v2/", want=200)


def test_flood_of_heads(node: Node) -> None:
    """Heads without an end are refused at a bound, not gathered in memory."""
    before = resident(node.pid)
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(connect(node)) for _ in range(20)]
        for link in links:
            with contextlib.suppress(OSError):
                link.settimeout(2)
                link.sendall(b"GET /v2/ HTTP/1.1\r\n")
                for number in range(20_000):
                    link.sendall(b"X-%d: " % number + b"x" * 100 + b"\r\n")
        assert resident(node.pid) - before < 30_000_000


def test_memory_stays_flat(start_node: StartNode) -> None:
    """Pushes and pulls that are many times the memory of the server."""
    node = start_node()
    content = random_bytes(32_000_000, 3)
    with RegistryClient(node.url) as client:
        digest = client.push_blob("app", content)
        client.blob("app", digest)
        before = resident(node.pid)

        def work(_: int) -> None:
            with RegistryClient(node.url) as own:
                own.push_blob("app", content)
                assert own.blob("app", digest) == content

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(8)))
        assert resident(node.pid) - before < 60_000_000


def test_request_without_a_target(node: Node) -> None:
    """A line that the parser takes for a request and that names nothing: answered or closed, never kept."""
    for request in (b"CONNECT \r\n\r\n", b"CONNECT \r\nHost: x\r\n\r\n"):
        with connect(node) as connection:
            connection.sendall(request)
            assert seconds_until_closed(connection, IDLE + SLACK) < IDLE + SLACK, request
