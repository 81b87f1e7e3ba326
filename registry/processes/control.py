"""The control socket: where commands on the same machine find a server that runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

NAME = "control"


@contextmanager
def control_socket(data: Path) -> Iterator[list[socket.socket]]:
    """The socket DATA/control for as long as the node runs, which holds DATA; nobody can connect before it listens.

    Empty where the file system of DATA cannot have sockets: commands work while no server runs, then.
    """
    file = data / NAME
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        file.unlink(missing_ok=True)  # a crash left it: whoever holds DATA is the only server on it
        with reachable(data) as path:
            control.bind(path)
        file.chmod(0o600)
    except OSError as error:
        control.close()
        log.warning("no control socket: accounts can be changed over the network alone", error=str(error))
        yield []
        return
    control.setblocking(False)
    try:
        yield [control]
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        control.close()


def connect(data: Path, timeout: float) -> socket.socket:
    """Raises OSError: FileNotFoundError and ConnectionRefusedError where no server serves DATA (yet)."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout)
    try:
        with reachable(data) as path:
            client.connect(path)
    except BaseException:
        client.close()
        raise
    return client


@contextmanager
def reachable(data: Path) -> Iterator[str]:
    """A path of the socket that fits into an address (108 bytes), however long that of DATA is."""
    folder = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)
