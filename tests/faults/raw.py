"""Requests as bytes on a socket, for what no client library sends."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")


@dataclass(frozen=True)
class Reply:
    """All that came back until the server closed, or nothing came any more; `seconds` is how long that took."""

    data: bytes
    closed: bool
    seconds: float

    @property
    def statuses(self) -> list[int]:
        """The status of every answer in it (bodies of the registry never look like a status line)."""
        return [int(status) for status in _STATUS.findall(self.data)]


def exchange(port: int, request: bytes, *, patience: float = 5.0) -> Reply:
    """Send some bytes and read what comes; once the server is silent, end our side and wait for its end.

    Our side ends only then, because a server may take the end for a client that has gone.
    """
    started = time.monotonic()
    data = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        closed = _read(connection, data, first=0.5, later=0.05)
        if not closed:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            closed = _read(connection, data, first=patience, later=patience)
    return Reply(bytes(data), closed, time.monotonic() - started)


def _read(connection: socket.socket, data: bytearray, first: float, later: float) -> bool:
    """Read until nothing came for some seconds; True where the server closed."""
    connection.settimeout(first)
    try:
        while chunk := connection.recv(65536):
            data += chunk
            connection.settimeout(later)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def seconds_until_closed(connection: socket.socket, limit: float) -> float:
    """How long until the server closes a connection; `limit` where it does not."""
    started = time.monotonic()
    connection.settimeout(0.5)
    while time.monotonic() - started < limit:
        try:
            if not connection.recv(65536):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123 - not a file of the test
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
