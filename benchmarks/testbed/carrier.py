"""Carries packets between two hosts, some time later, and loses some: `python -m benchmarks.testbed.carrier`.

A TUN device in each of two namespaces, and one loop between them. It says `ready`, then obeys lines: `drop` (all that
comes, silently), `pass`, `end`; it ends with its input too.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import selectors
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass

from benchmarks.testbed.hosts import enter

_TUNSETIFF = 0x400454CA
_IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000
_LARGEST = 65536
_AT_ONCE = 64
_IDLE = 1.0
_SHORTEST_WAIT = 0.0002
MOST_UNDER_WAY = 256 * 1024 * 1024
"""Bytes in one direction; what comes beyond is lost, as on any link."""


@dataclass(frozen=True, slots=True)
class Nature:
    """`delay`: seconds one way. `loss`: the share of packets, in each direction."""

    delay: float
    loss: float


class Way:
    """One direction: packets come from one device and go to the other in the order in which they came."""

    def __init__(self, nature: Nature, chance: random.Random) -> None:
        self._nature = nature
        self._chance = chance
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self.is_down = False

    def put(self, packet: bytes, now: float) -> None:
        is_lost = self.is_down or (self._nature.loss > 0 and self._chance.random() < self._nature.loss)
        if is_lost or self._bytes + len(packet) > MOST_UNDER_WAY:
            return
        self._bytes += len(packet)
        self._under_way.append((now + self._nature.delay, packet))

    def due(self, now: float) -> bytes | None:
        """The next packet that has arrived."""
        if not self._under_way or self._under_way[0][0] > now:
            return None
        packet = self._under_way.popleft()[1]
        self._bytes -= len(packet)
        return packet

    def next_at(self) -> float | None:
        return self._under_way[0][0] if self._under_way else None


def open_device(namespace: str, name: str) -> int:
    """A TUN device of that name in a namespace, which has to be there already."""
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_WITHOUT_HEADER))
    return device


def carry(left: int, right: int, nature: Nature, seed: int) -> None:
    """Until the input ends."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    ways = {left: (Way(nature, chance), right), right: (Way(nature, chance), left)}
    with selectors.DefaultSelector() as selector:
        for file in (left, right, sys.stdin.fileno()):
            selector.register(file, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(_wait(ways)):
                if key.fd in ways:
                    _take(key.fd, ways[key.fd][0])
                elif not _obey(ways):
                    return
            for way, target in ways.values():
                _deliver(way, target)


def _wait(ways: dict[int, tuple[Way, int]]) -> float:
    dates = [at for way, _ in ways.values() if (at := way.next_at()) is not None]
    return max(_SHORTEST_WAIT, min(dates) - time.monotonic()) if dates else _IDLE


def _take(device: int, way: Way) -> None:
    now = time.monotonic()
    for _ in range(_AT_ONCE):
        try:
            packet = os.read(device, _LARGEST)
        except BlockingIOError:
            return
        way.put(packet, now)


def _deliver(way: Way, device: int) -> None:
    now = time.monotonic()
    while (packet := way.due(now)) is not None:
        try:
            os.write(device, packet)
        except OSError:  # the device is down, or its queue is full: packets get lost
            return


def _obey(ways: dict[int, tuple[Way, int]]) -> bool:
    words = os.read(sys.stdin.fileno(), 1024).split()
    for word in words:
        for way, _ in ways.values():
            way.is_down = word == b"drop"
    return bool(words) and b"end" not in words


def main() -> None:
    parser = argparse.ArgumentParser()
    for side in ("left", "right"):
        parser.add_argument(f"--{side}", nargs=2, metavar=("NAMESPACE", "DEVICE"), required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    devices = open_device(*asked.left), open_device(*asked.right)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    carry(*devices, Nature(asked.delay, asked.loss), asked.seed)


if __name__ == "__main__":
    main()
