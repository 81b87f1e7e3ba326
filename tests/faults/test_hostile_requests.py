"""Requests that nobody should send: no 5xx, no hang, no file outside the data directory, no growth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import hostile, tracing
from tests.faults.conftest import StartNode
from tests.faults.node import Node
from tests.faults.raw import Reply, exchange, resident
from tests.harness.client import RegistryClient
from tests.harness.content import small_image

LONGEST = 5.0
"""Seconds that the answer to one hostile request may take on a busy machine."""


def listing(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_mode for path in root.rglob("*")}


@pytest.fixture
def node(start_node: StartNode, tmp_path: Path) -> Iterator[Node]:
    """A server with one image; afterwards it still works, complained of nothing, and wrote nowhere else."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "secret").write_text("nobody may see this")
    node = start_node(data=tmp_path / "inner" / "data", settings={"server": {"body_timeout": 3, "idle_timeout": 3}})
    with RegistryClient(node.url) as client:
        client.push_image("app", small_image(), "latest")
        before = listing(tmp_path / "beside")
        yield node
        client.push_image("app", small_image(1), "after")
        client.check_image("app", small_image(), "latest")
        assert "smuggled" not in client.catalog()
    assert listing(tmp_path / "beside") == before
    assert {path.name for path in (tmp_path / "inner").iterdir()} == {"data", "data.log", "data.out", "data.toml"}
    assert not node.complaints()


def check(name: str, reply: Reply) -> None:
    assert all(status < 500 for status in reply.statuses), f"{name}: {reply.data[:300]!r}"
    assert reply.seconds < LONGEST, f"{name}: {reply.seconds:.1f} s"
    assert reply.closed, f"{name}: the connection stays although the client has ended its side: {reply.data[:200]!r}"
    assert b"nobody may see this" not in reply.data
    assert b"Traceback" not in reply.data


def test_known_attacks(node: Node) -> None:
    def attack(case: tuple[str, bytes]) -> tuple[str, Reply]:
        return case[0], exchange(node.port, case[1])

    with ThreadPoolExecutor(12) as pool:
        for name, reply in pool.map(attack, hostile.fixed()):
            check(name, reply)


UNAMBIGUOUS = {
    "TE 'identity, chunked'", "TE 'gzip, chunked'", "TE ' chunked'", "TE 'chunked '", "TE 'CHUNKED'", "TE '' CL",
    "TE in 1.0", "chunk size b'3;xxxxxxxxxxxxxxxxxx'", "body of GET", "encoded", "expects wonders",
}  # fmt: skip
"""Every reader finds the same end of these; what comes after it is the next request."""


def test_framing_is_strict(node: Node) -> None:
    """What two readers could understand in two ways is refused, once, and the connection is closed."""
    seen = set()
    for name, request in hostile.framings():
        seen.add(name)
        reply = exchange(node.port, request)
        check(name, reply)
        if name not in UNAMBIGUOUS:
            assert reply.statuses == [400], f"{name}: {reply.statuses}"
            assert b"smuggled" not in reply.data, name
    assert seen >= UNAMBIGUOUS


def test_paths_stay_inside(start_node: StartNode, tmp_path: Path) -> None:
    """No path of a request reaches the file system outside of the data directory (as strace sees it)."""
    output = tmp_path / "trace"
    node = start_node(
        prefix=tracing.prefix(output, ["openat", "open", "stat", "newfstatat", "mkdir", "rename", "unlink"])
    )
    with RegistryClient(node.url) as client:
        client.push_image("app", small_image(), "latest")
    mark = len(tracing.read(output))
    requests = [
        hostile.head(method, path, "Content-Length: 0", "Connection: close")
        for path in hostile.PATHS
        for method in ("GET", "PUT", "POST", "DELETE", "HEAD")
    ]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda request: exchange(node.port, request), requests))
    assert sum(bool(reply.statuses) for reply in replies) > len(requests) * 0.9
    node.stop()
    named = [match for call in tracing.read(output)[mark:] for match in re.findall(r'"([^"]*)"', call.arguments)[:1]]
    allowed = (str(node.data), "/tmp/", str(tmp_path / "scratch"), "/proc/self", "/etc/localtime")
    strangers = [path for path in named if path.startswith("/") and not path.startswith(allowed)]
    assert not [path for path in strangers if "passwd" in path or ".." in path], strangers
    assert not [path for path in named if ".." in path], named


def fuzz(node: Node, count: int, seed: int) -> None:
    generator = hostile.Generator(seed)
    requests = [generator.next() for _ in range(count)]
    with ThreadPoolExecutor(12) as pool:
        replies = pool.map(lambda request: exchange(node.port, request), requests)
        for request, reply in zip(requests, replies, strict=True):
            check(repr(request[:500]), reply)


def test_changed_requests(node: Node) -> None:
    fuzz(node, 300, 1)
    before = resident(node.pid)
    fuzz(node, 1500, 2)
    assert resident(node.pid) - before < 20_000_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_changed_requests_long(node: Node) -> None:
    fuzz(node, 2000, 3)
    before = resident(node.pid)
    for seed in range(4, 24):
        fuzz(node, 3000, seed)
    assert resident(node.pid) - before < 30_000_000
