"""A worker, put together, and its entry point; only the node starts it (registry.processes.supervisor)."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from registry import __version__
from registry.config import Settings
from registry.domain.succession import Standing
from registry.errors import StartupError
from registry.processes import channel
from registry.processes.front import Front
from registry.processes.node_parts import NodeParts
from registry.processes.process import Process
from registry.processes.signals import stop_and_reload
from registry.storage.metadata.commits import CommitCounter
from registry.telemetry.logs import configure as configure_logs
from registry.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    channel_descriptor, sockets, metrics_directory, commits, parent = sys.argv[1:]
    listening = [int(number) for number in sockets.split(",")]
    serve(int(channel_descriptor), listening, metrics_directory, int(commits), int(parent))


def serve(
    channel_descriptor: int, socket_descriptors: Sequence[int], metrics_directory: str, commits: int, parent: int
) -> None:
    """Run one worker until the node tells it to stop or dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the node died before the line above
        sys.exit(1)
    sockets = [socket.socket(fileno=number) for number in socket_descriptors]
    asyncio.run(_worker(socket.socket(fileno=channel_descriptor), sockets, metrics_directory, CommitCounter(commits)))


async def _worker(
    to_node: socket.socket, sockets: list[socket.socket], metrics_directory: str, commits: CommitCounter
) -> None:
    reader, writer = await asyncio.open_connection(sock=to_node)
    _, _, (settings_json, standing) = await channel.receive(reader)
    settings = Settings.model_validate_json(settings_json)
    configure_logs(settings.log.level, settings.log.format)
    try:
        process = Process(settings, Metrics(Path(metrics_directory), __version__), commits, Standing.of(standing))
    except StartupError as error:
        log.error("the worker cannot start", error=str(error))
        sys.exit(1)

    def configure(settings_json: str, standing: str) -> None:
        process.standing = Standing.of(standing)
        process.configure(Settings.model_validate_json(settings_json))
        listener.answer = process.dispatcher(process.routes(parts), parts)

    node = channel.RemoteNode(reader, writer, configure)
    parts = NodeParts(node, node, node, node, node, node, node, node.above)
    listener = process.listener(process.routes(parts), parts)
    front = Front(listener, sockets, process.door(listener), shared=True)
    stop, _ = stop_and_reload()
    node_gone = asyncio.create_task(node.run())
    await front.start()
    gc.freeze()  # what the start made stays: later collections need not walk it
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, node_gone], return_when=asyncio.FIRST_COMPLETED)
    process.feed.end()
    if not node_gone.done():
        await front.stop(process.settings.server.drain_timeout)
        writer.close()
    await process.close()


if __name__ == "__main__":
    main()
