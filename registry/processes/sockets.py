"""The ports that a node listens on, and how many connections it can hold."""

from __future__ import annotations

import errno
import resource
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from registry.config import Address
from registry.errors import StartupError

_BACKLOG = 1024
_BIND_TRIES = 20
_FILES_OF_OUR_OWN = 200
_BIND_PAUSE = 0.05  # seconds


def bind_all(addresses: Sequence[Address]) -> list[socket.socket]:
    """Listening sockets, in the order of the addresses. Raises StartupError as `bind` does, and leaves none open."""
    with ExitStack() as opened:
        # [::] takes IPv4 too, but for ports that are listened to by another name
        v4 = {address.port for address in addresses if ":" not in address.host}
        sockets = [opened.enter_context(bind(address, v6_alone=address.port in v4)) for address in addresses]
        opened.pop_all()
    return sockets


def bind(address: Address, setting: str = "--listen", *, v6_alone: bool = False) -> socket.socket:
    """A listening socket; raises StartupError where the port is taken or not ours to take.

    `v6_alone`: where the address is one of IPv6, clients of IPv4 do not reach it.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, target = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and v6_alone:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _bind_soon(listener, target)
        listener.listen(_BACKLOG)
    except socket.gaierror as error:
        raise StartupError(f"{address.host} is no address of this machine: {error.strerror}") from error
    except OSError as error:
        raise StartupError(_advice(address, setting, error)) from error
    listener.setblocking(False)
    return listener


def most_connections(wanted: int) -> int:
    """Raise the limit of open files as far as we may; how many connections fit, at most `wanted`.

    A connection can hold a socket, a duplicate of it, and the file of a blob.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else max(1, min(wanted, (hard - _FILES_OF_OUR_OWN) // 3))


def _bind_soon(listener: socket.socket, target: tuple[Any, ...]) -> None:
    """Bind, with some patience: the workers of a node that was killed hold its socket a moment longer."""
    for _ in range(_BIND_TRIES):
        try:
            return listener.bind(target)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            time.sleep(_BIND_PAUSE)
    return listener.bind(target)


def _advice(address: Address, setting: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {address.port} of {address.host} is in use: stop what listens there, or name another with {setting}"
        )
    if error.errno == errno.EACCES:
        return f"port {address.port} needs more rights than this user has: name one above 1023 with {setting}"
    return f"cannot listen on {address}: {error.strerror}; name another address with {setting}"
