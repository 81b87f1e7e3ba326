"""Hosts and links: they are as far, slow and lossy as was asked, and leave nothing."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.testbed.carrier import MOST_UNDER_WAY, Nature, Way
from benchmarks.testbed.hosts import TestbedError, need_root
from benchmarks.testbed.links import LAN, Conditions, Link, made_testbed


def namespaces() -> set[str]:
    """All network namespaces that some process is in."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(path.readlink()))
        except OSError:  # it ended, or is not ours
            continue
    return found


def seconds_of(link: Link, size: int) -> tuple[float, float]:
    """Of connecting over a link, and of so many bytes over it after that."""
    with link.left.entered():
        listening = socket.create_server((link.left_address, 5000))

    def send() -> None:
        accepted, _ = listening.accept()
        with closing(accepted):
            accepted.sendall(b"x" * size)

    thread = threading.Thread(target=send)
    thread.start()
    began = time.monotonic()
    with listening, link.right.entered(), closing(socket.create_connection((link.left_address, 5000), 10)) as receiving:
        connected = time.monotonic()
        while receiving.recv(65536):
            pass
        ended = time.monotonic()
    thread.join()
    return connected - began, ended - connected


@pytest.mark.require("root")
def test_a_link_is_as_was_asked_and_goes() -> None:
    ours = Path("/proc/thread-self/ns/net").readlink()
    with made_testbed() as bed:
        hosts = [bed.host(name, "reno") for name in "abc"]
        far = bed.join(hosts[0], hosts[1], Conditions(rtt=0.1, rate=20_000_000))
        near = bed.join(hosts[0], hosts[2], LAN)
        made = {str(Path(host.namespace).readlink()) for host in hosts}
        assert len(made - {str(ours)}) == 3
        connected, carried = seconds_of(far, 2_000_000)
        assert 0.1 <= connected < 0.3
        assert 0.75 < carried < 3, "2 MB take 0.8 s at 20 Mbit/s"
        connected, carried = seconds_of(near, 2_000_000)
        assert connected < 0.05
        assert carried < 0.5
        assert Path("/proc/thread-self/ns/net").readlink() == ours
        assert made <= namespaces()
    assert not made & namespaces()


@pytest.mark.require("root")
def test_what_is_dropped_comes_when_it_is_carried_again() -> None:
    with made_testbed() as bed:
        left, right = bed.host("left"), bed.host("right")
        link = bed.join(left, right, Conditions(has_carrier=True))
        link.drop()
        threading.Timer(0.5, link.carry).start()
        assert seconds_of(link, 1000)[0] >= 0.5


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(TestbedError, match="need root"):
        need_root()


def way(delay: float = 0.0, loss: float = 0.0) -> Way:
    return Way(Nature(delay, loss), random.Random(1))  # noqa: S311 - no secret


def test_packets_come_later_and_in_order() -> None:
    carried = way(delay=2.0)
    carried.put(b"first", 10.0)
    carried.put(b"second", 11.0)
    assert carried.next_at() == 12.0
    assert carried.due(11.9) is None
    assert [carried.due(12.5), carried.due(12.5), carried.due(13.0)] == [b"first", None, b"second"]


def test_as_many_are_lost_as_was_asked() -> None:
    carried = way(loss=0.2)
    for _ in range(10_000):
        carried.put(b"x", 0.0)
    assert 7700 < sum(carried.due(1.0) is not None for _ in range(10_000)) < 8300


def test_what_is_under_way_is_bounded() -> None:
    carried, packet = way(), bytes(65536)
    for _ in range(MOST_UNDER_WAY // len(packet) + 10):
        carried.put(packet, 0.0)
    arrived = 0
    while carried.due(1.0) is not None:
        arrived += 1
    assert arrived == MOST_UNDER_WAY // len(packet)
