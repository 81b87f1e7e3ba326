"""What has to be had before anything is served: the data directory for us alone, and the ports."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.config import Address
from registry.errors import StartupError

_BACKLOG = 1024


@contextmanager
def sole_use(data: Path) -> Iterator[None]:
    """Hold the data directory; raises StartupError where another process has it."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartupError(
            f"the data directory {data} cannot be used: {error.strerror}; name another with --data"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StartupError(
            f"the data directory {data} is in use by another shoal: stop that one, or name another with --data"
        ) from None
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def scratch(path: Path) -> Iterator[str]:
    """A folder that is empty at the start and gone at the end; what a crash left in it is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield str(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def bind(address: Address) -> socket.socket:
    """A listening socket; raises StartupError where the port is taken or not ours to take."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, target = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(_BACKLOG)
    except socket.gaierror as error:
        raise StartupError(f"{address.host} is no address of this machine: {error.strerror}") from error
    except OSError as error:
        raise StartupError(_advice(address, error)) from error
    listener.setblocking(False)
    return listener


def _advice(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {address.port} of {address.host} is in use: stop what listens there, or name another with --listen"
        )
    if error.errno == errno.EACCES:
        return f"port {address.port} needs more rights than this user has: name one above 1023 with --listen"
    return f"cannot listen on {address}: {error.strerror}; name another address with --listen"
