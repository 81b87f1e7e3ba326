"""Large layers: push them, pull them, one client a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks.load.content import Layer
from benchmarks.load.crew import Work, together
from benchmarks.load.http import Connection, LoadError
from benchmarks.processes import Server

REPOSITORY = "bench/large"

Manner = Literal["chunks", "length", "at once"]
"""How a body is sent: PATCH in chunks as dockerd does, PATCH with its length, or in the PUT as containerd does."""


@dataclass(frozen=True, slots=True)
class _Push:
    port: int
    layer: Layer
    manner: Manner


@dataclass(frozen=True, slots=True)
class _Pull:
    port: int
    digest: str
    size: int


def push(server: Server, layers: Sequence[Layer], manner: Manner) -> float:
    """Push the layers, all at once, each by a client of its own; returns seconds."""
    return together(_prepare_push, [_Push(server.port, layer, manner) for layer in layers])


def pull(server: Server, layer: Layer, clients: int) -> float:
    """Pull a layer by so many clients at once; returns seconds."""
    return together(_prepare_pull, [_Pull(server.port, layer.digest, layer.size)] * clients)


def _prepare_push(task: _Push) -> Work:
    return partial(_push, Connection(task.port), task.layer, task.manner)


def _push(connection: Connection, layer: Layer, manner: Manner) -> None:
    answer = connection.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/")
    if manner != "at once":
        answer = connection.send_layer("PATCH", answer.location, layer, chunked=manner == "chunks")
        if answer.status != 202:
            raise LoadError(f"the PATCH was answered with {answer.status}: {answer.body[:300]!r}")
    target = closing(answer.location, layer.digest)
    if manner == "at once":
        answer = connection.send_layer("PUT", target, layer, chunked=False)
    else:
        answer = connection.request("PUT", target)
    if answer.status != 201:
        raise LoadError(f"the PUT was answered with {answer.status}: {answer.body[:300]!r}")


def closing(location: str, digest: str) -> str:
    """Where the closing PUT of an upload goes."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _prepare_pull(task: _Pull) -> Work:
    return partial(_pull, Connection(task.port), task)


def _pull(connection: Connection, task: _Pull) -> None:
    received = connection.discard(f"/v2/{REPOSITORY}/blobs/{task.digest}")
    if received != task.size:
        raise LoadError(f"{received} bytes came instead of {task.size}")
