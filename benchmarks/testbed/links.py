"""Links between hosts: a veth pair, or, where there is a delay or a loss, two TUN devices with a program between."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.testbed.hosts import Host, TestbedError

_LEAST_QUEUE = 256 * 1024
_LEAST_BURST = 64 * 1024
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Conditions:
    """`rtt`: seconds there and back. `loss`: share of packets each way. `rate`: bits/s each way, None for no bound.

    `has_carrier`: a program in between also where nothing else asks for it, so that packets can be dropped silently.
    """

    rtt: float = 0.0
    loss: float = 0.0
    rate: int | None = None
    has_carrier: bool = False

    @property
    def is_plain(self) -> bool:
        return not (self.rtt or self.loss or self.has_carrier)


LAN = Conditions()


@dataclass(frozen=True, slots=True)
class Link:
    """Two hosts that can reach each other. `left_address` and `right_address`: of the hosts."""

    left: Host
    right: Host
    device: str
    left_address: str
    right_address: str
    carrier: subprocess.Popen[bytes] | None

    def take_down(self) -> None:
        """As when a cable is pulled at the right side: its kernel knows."""
        self.right.run("ip", "link", "set", self.device, "down")

    def put_up(self) -> None:
        self.right.run("ip", "link", "set", self.device, "up")

    def drop(self) -> None:
        """From now on packets get lost silently, and both sides think that they are connected."""
        self._tell(b"drop\n")

    def carry(self) -> None:
        self._tell(b"pass\n")

    def _tell(self, word: bytes) -> None:
        if self.carrier is None or self.carrier.stdin is None:
            raise TestbedError("nothing carries the packets of this link: ask for has_carrier")
        self.carrier.stdin.write(word)
        self.carrier.stdin.flush()


class Testbed:
    """Hosts and links that go with the block. Raises TestbedError where this machine cannot have them."""

    __test__ = False

    def __init__(self, running: ExitStack) -> None:
        self._running = running
        self._numbers = itertools.count(1)

    def host(self, name: str, congestion: str | None = None) -> Host:
        """`congestion`: what its TCP goes by ("bbr", "reno"), where it is not to be the kernel's choice."""
        made = Host(name)
        self._running.callback(made.close)
        if congestion is not None:
            made.tune("ipv4/tcp_congestion_control", congestion)
        return made

    def join(self, left: Host, right: Host, conditions: Conditions = LAN) -> Link:
        number = next(self._numbers)
        device, addresses = f"shoal{number}", (f"10.77.{number}.1", f"10.77.{number}.2")
        carrier = None
        if conditions.is_plain:
            pair = ["type", "veth", "peer", "name", device, "netns", str(right.pid)]
            left.run("ip", "link", "add", "name", device, *pair)
        else:
            for host in (left, right):
                host.run("ip", "tuntap", "add", "dev", device, "mode", "tun")
            carrier = self._running.enter_context(_carrier(left, right, device, conditions, number))
        for host, own, other in zip((left, right), addresses, addresses[::-1], strict=True):
            host.run("ip", "address", "add", own, "peer", other, "dev", device)
            host.run("ip", "link", "set", device, "txqueuelen", "20000", "up")
            if conditions.rate is not None:
                _shape(host, device, conditions.rate, conditions.rtt)
        return Link(left, right, device, *addresses, carrier)


@contextmanager
def made_testbed() -> Iterator[Testbed]:
    with ExitStack() as running:
        yield Testbed(running)


def _shape(host: Host, device: str, rate: int, rtt: float) -> None:
    """A token bucket with a queue of one round trip, as a router of some quality has it."""
    queue = max(_LEAST_QUEUE, int(rate / 8 * rtt))
    burst = max(_LEAST_BURST, rate // 8 // 250)
    words = ["tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{rate}bit"]
    host.run(*words, "burst", f"{burst}b", "limit", f"{queue}b")


@contextmanager
def _carrier(
    left: Host, right: Host, device: str, conditions: Conditions, seed: int
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "benchmarks.testbed.carrier"]
    command += ["--left", left.namespace, device, "--right", right.namespace, device]
    command += ["--delay", str(conditions.rtt / 2), "--loss", str(conditions.loss), "--seed", str(seed)]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise TestbedError("the program between two hosts did not start; what it said is above")
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
