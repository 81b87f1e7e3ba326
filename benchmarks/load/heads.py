"""As many HEADs of one path as the registry can answer.

wrk and h2load cannot do this: both wait for the body that the Content-Length speaks of.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass
from functools import partial

from benchmarks.load.crew import Work, together
from benchmarks.load.http import LoadError
from benchmarks.processes import Server

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class _Task:
    port: int
    target: str
    connections: int
    requests: int


def head_rate(server: Server, target: str, connections: int, seconds: float) -> float:
    """HEADs a second over `connections` kept connections, in runs of about `seconds`."""
    probe = _Task(server.port, target, connections, connections * 20)
    expected = probe.requests / together(_prepare, [probe])
    task = _Task(server.port, target, connections, max(probe.requests, int(expected * seconds)))
    return task.requests / together(_prepare, [task])


def _prepare(task: _Task) -> Work:
    request = f"HEAD {task.target} HTTP/1.1\r\nHost: 127.0.0.1:{task.port}\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", task.port)) for _ in range(task.connections)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
    return partial(_exchange, connections, request, task.requests)


def _exchange(connections: list[socket.socket], request: bytes, count: int) -> None:
    """Send `count` requests, one at a time on each connection, and check every answer."""
    poll = select.epoll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number, connection in by_number.items():
        poll.register(number, select.EPOLLIN)
        connection.send(request)
    sent, answered = len(connections), 0
    last = time.monotonic()
    while answered < count:
        ready = poll.poll(1.0)
        if not ready and time.monotonic() - last > _PATIENCE:
            raise LoadError(f"no answer to a HEAD for {_PATIENCE:g} s")
        for number, _ in ready:
            answer = by_number[number].recv(4096)
            if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n")):
                raise LoadError(f"a HEAD was answered with {answer[:200]!r}")
            answered += 1
            if sent < count:
                by_number[number].send(request)
                sent += 1
        if ready:
            last = time.monotonic()
    poll.close()
    for connection in connections:
        connection.close()
