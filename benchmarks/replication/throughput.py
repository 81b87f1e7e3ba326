"""How much of a long link large layers use."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.plan import size_text
from benchmarks.replication import peers
from benchmarks.replication.arena import Arena
from benchmarks.replication.progress import wait_until_it_follows
from benchmarks.report import Goal, Row, make_row
from benchmarks.testbed.client import Session
from benchmarks.testbed.links import Conditions, made_testbed
from benchmarks.testbed.nodes import PORT, node, slave_of

_RTT = 0.3
_PACKET, _HEADERS = 1500, 52
"""Bytes of a packet, and what of them is IP and TCP with timestamps: a link carries them too."""


def rows(arena: Arena) -> Iterator[Row]:
    plan = arena.plan
    conditions = Conditions(_RTT, rate=plan.rate)
    size = plan.layers * plan.layer_size
    with arena.directory() as folder, made_testbed() as bed:
        hosts = [bed.host(name, arena.congestion) for name in ("master", "slave", "peer")]
        addresses = [bed.join(hosts[0], host, conditions).left_address for host in hosts[1:]]
        image = arena.image("bench/large", size, plan.layers)
        with node(hosts[0], folder / "master") as master, Session(master.registry) as pushes:
            with node(hosts[1], folder / "slave", slave_of(addresses[0])) as slave:
                wait_until_it_follows(slave.data)
                with Session(slave.registry) as pulls:
                    pushes.push(image)
                    began = time.monotonic()
                    ours = _share(size, pulls.wait_for(image, 0.02) - began, plan.rate)
            others = []
            if arena.peer and peers.has_skopeo():
                with node(hosts[2], folder / "peer"):
                    began = time.monotonic()
                    if peers.sync(hosts[2], f"{addresses[1]}:{PORT}/bench/large", f"127.0.0.1:{PORT}/bench", folder):
                        others = [_share(size, time.monotonic() - began, plan.rate)]
    where = f"{plan.rate // 1_000_000} Mbit/s at {1000 * _RTT:g} ms RTT"
    name = f"share of {where}, {plan.layers} x {size_text(plan.layer_size)}"
    yield arena.tell(make_row(name, "%", Goal("value", "least", 95), [ours], "skopeo sync", others))


def _share(size: int, seconds: float, rate: int) -> float:
    """Of the link, in percent, packets' headers included."""
    return 100 * size * 8 / seconds / rate * _PACKET / (_PACKET - _HEADERS)
