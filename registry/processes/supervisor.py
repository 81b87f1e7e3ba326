"""The worker processes of a node: started, replaced when they die, ended with the node.

A worker is a fresh interpreter that inherits the listening sockets and one end of a socket pair. When
the node dies, however it dies, the kernel ends the worker (PR_SET_PDEATHSIG) and the socket pair closes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import structlog

from registry.processes.channel import WorkerSession, send
from registry.processes.node_parts import NodeParts
from registry.services.leases import LocalLeases

log = structlog.get_logger(__name__)

_SETTLED_AFTER = 1.0  # seconds
_KILL_AFTER = 5.0  # seconds


class Supervisor:
    """Keeps `count` workers running. `settings` gives what every worker is told, at its start and on reload: the
    settings and the standing, as JSON; `commits` is the descriptor of the shared count of commits."""

    def __init__(
        self,
        count: int,
        sockets: Sequence[socket.socket],
        settings: Callable[[], tuple[str, str]],
        metrics_directory: str,
        commits: int,
        parts: NodeParts,
        leases: LocalLeases,
        on_death: Callable[[int], None],
    ) -> None:
        self._count = count
        self._sockets = sockets
        self._settings = settings
        self._metrics_directory = metrics_directory
        self._commits = commits
        self._parts = parts
        self._leases = leases
        self._on_death = on_death
        self._channels: dict[int, asyncio.StreamWriter] = {}
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep_one()) for _ in range(self._count)]

    async def reload(self) -> None:
        """Tell every worker the settings anew."""
        for channel in list(self._channels.values()):
            with suppress(ConnectionError):
                await send(channel, [0, None, self._settings()])

    async def stop(self, drain_timeout: float) -> None:
        """SIGTERM to all; whoever is still there after the drain is killed."""
        self._stopping = True
        for process in list(self._processes.values()):
            with suppress(ProcessLookupError):
                process.terminate()
        _, late = await asyncio.wait(self._tasks, timeout=drain_timeout + _KILL_AFTER)
        for process in list(self._processes.values()):
            with suppress(ProcessLookupError):
                process.kill()
        if late:
            await asyncio.wait(late)

    async def _keep_one(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            started = loop.time()
            try:
                code = await self._run_one()
            except Exception:  # no process to be had, or a broken channel: the next try may do better
                log.exception("a worker could not be run")
                code = -1
            if self._ending():
                return
            log.error("worker died; starting another", exit_code=code)
            if loop.time() - started < _SETTLED_AFTER:
                await asyncio.sleep(_SETTLED_AFTER)

    def _ending(self) -> bool:
        return self._stopping

    async def _run_one(self) -> int:
        ours, theirs = socket.socketpair()
        with ExitStack() as ends:
            ends.enter_context(theirs)
            ends.callback(ours.close)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "registry.worker",
                str(theirs.fileno()),
                ",".join(str(listening.fileno()) for listening in self._sockets),
                self._metrics_directory,
                str(self._commits),
                str(os.getpid()),
                pass_fds=[theirs.fileno(), self._commits, *(listening.fileno() for listening in self._sockets)],
                process_group=0,  # Ctrl-C reaches the node alone, which then drains its workers
            )
            ends.pop_all()
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        self._processes[process.pid], self._channels[process.pid] = process, writer
        if self._stopping:
            process.send_signal(signal.SIGTERM)
        try:
            await send(writer, [0, None, self._settings()])
            await WorkerSession(reader, writer, self._parts, self._leases).run()
        except ConnectionError:
            log.warning("worker went away", pid=process.pid)
        finally:
            code = await process.wait()
            del self._processes[process.pid], self._channels[process.pid]
            self._on_death(process.pid)
        return code
