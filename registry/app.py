"""The composition root: the one place that names concrete adapters and wires them together."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import structlog

from registry import __version__
from registry.config import Address, ConfigError, Settings, StorageSettings
from registry.domain.clock import system_clock
from registry.domain.move import StorageMove
from registry.errors import RegistryError, StartupError
from registry.moving import check_target, here, storage_of
from registry.ports import Changes, Leases
from registry.process import Process
from registry.processes import channel
from registry.processes.front import Front
from registry.processes.housekeeping import Housekeeping
from registry.processes.moving import MoveFollower
from registry.processes.sockets import bind
from registry.processes.supervisor import Supervisor
from registry.services.collect import Collector
from registry.services.leases import LocalLeases
from registry.services.move import Mover
from registry.storage.data_lock import scratch, sole_use
from registry.storage.files import DataDirectory
from registry.storage.metadata import databases
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.writer import GroupCommitWriter
from registry.telemetry.logs import configure as configure_logs
from registry.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1
_SHORT_GRACE = 300.0
_FIXED = ("listen", "workers", "metrics_listen", "max_connections", "idle_timeout", "body_timeout")  # of [server]
_FIXED_SECTIONS = ("data", "database", "redis")


def serve(settings: Settings, reload: Callable[[], Settings]) -> int:
    """Run a node until SIGTERM or SIGINT; the exit code. Raises StartupError."""
    configure_logs(settings.log.level, settings.log.format)
    with ExitStack() as stack:
        stack.enter_context(sole_use(settings.data))
        directory = DataDirectory(settings.data, settings.storage.reserve)
        directory.prepare()
        databases.chosen(settings.database.url, settings.data).prepare(may_be_new=directory.is_empty())
        sockets = [stack.enter_context(bind(settings.server.listen))]
        metrics_at = settings.server.metrics_listen
        metrics_sockets = [stack.enter_context(bind(metrics_at, "server.metrics_listen"))] if metrics_at else []
        metrics_directory = stack.enter_context(scratch(settings.data / "metrics"))
        asyncio.run(_node(settings, reload, sockets, metrics_sockets, metrics_directory))
    return 0


async def _node(
    settings: Settings,
    reload: Callable[[], Settings],
    sockets: list[socket.socket],
    metrics_sockets: list[socket.socket],
    metrics_directory: str,
) -> None:
    process = Process(settings, Metrics(Path(metrics_directory), __version__), CommitCounter.create())
    writer = GroupCommitWriter(
        process.database.transactions(), process.commits, system_clock, process.metrics.committed
    )
    leases = LocalLeases()
    move = _StorageMove(process, reload)
    follower = _follower(process, writer, leases, move)
    try:
        await follower.follow_at_start()
        await process.stores.check_at_start()
    except (StartupError, RegistryError) as error:
        await process.close()
        raise StartupError(str(error)) from error
    writer.start()
    housekeeping = Housekeeping(
        lambda: _collector(process, writer, leases),
        lambda: _clear_up(process, writer, leases),
        process.metrics.blobs_collected,
    )
    stop, again = _signals()
    fronts = [Front(process.metrics_listener(writer), metrics_sockets, shared=False)] if metrics_sockets else []
    listener = process.listener(process.routes(writer, leases))
    supervisor: Supervisor | None = None
    if settings.server.workers == 1:
        fronts.append(Front(listener, sockets, shared=False))
    else:
        supervisor = Supervisor(
            settings.server.workers,
            sockets,
            lambda: process.settings.model_dump_json(),  # noqa: PLW0108 - the settings may be others by then
            metrics_directory,
            process.commits.descriptor,
            writer,
            leases,
            process.metrics.worker_died,
        )
        supervisor.start()
    for front in fronts:
        await front.start()
    housekeeping.start(settings.collect.interval)
    background = [
        asyncio.create_task(_announce(process, settings)),
        asyncio.create_task(follower.run()),
    ]

    async def use_settings() -> None:
        listener.answer = process.dispatcher(process.routes(writer, leases))
        housekeeping.change_interval(process.settings.collect.interval)
        if supervisor is not None:
            await supervisor.reload()

    move.use_settings = use_settings
    _greet(settings, Address(settings.server.listen.host, sockets[0].getsockname()[1]))
    process.metrics.journal_at(await process.head_serial())
    gc.freeze()  # what the start made stays: later collections need not walk it

    while not stop.is_set():
        await _first(stop, again)
        if again.is_set() and not stop.is_set():
            again.clear()
            _reload(process, move.settings)
            await use_settings()

    log.info("stopping: running requests may end", seconds=process.settings.server.drain_timeout)
    for task in background:
        task.cancel()
    await housekeeping.stop()
    for listening in sockets if supervisor is not None else ():
        listening.close()
    if supervisor is not None:
        await supervisor.stop(process.settings.server.drain_timeout)
    for front in fronts:
        await front.stop(process.settings.server.drain_timeout)
    await writer.stop()
    await process.close()


class _StorageMove:
    """What a move of the storage changes in a node: its [storage] is that of the move, whatever its own file says."""

    def __init__(self, process: Process, reload: Callable[[], Settings]) -> None:
        self._process = process
        self._reload = reload
        self._storage: StorageSettings | None = None
        self.use_settings: Callable[[], Awaitable[None]] | None = None

    def settings(self) -> Settings:
        """Those of the node's file now. Raises ConfigError."""
        own = self._reload()
        return own.model_copy(update={"storage": self._storage}) if self._storage else own

    async def take_over(self, move: StorageMove) -> None:
        """Raises StartupError."""
        storage = storage_of(Path(move.settings), self._process.settings)
        await check_target(move, self._process.settings, storage)
        await self._use(storage)
        self._storage = storage

    async def give_back(self) -> None:
        self._storage = None
        try:
            await self._use(self._reload().storage)
        except (ConfigError, StartupError) as error:
            log.error("the settings were not read again: they have an error", error=str(error))

    async def _use(self, storage: StorageSettings) -> None:
        self._process.configure(self._process.settings.model_copy(update={"storage": storage}))
        if self.use_settings is not None:
            await self.use_settings()


def _follower(process: Process, changes: Changes, leases: Leases, move: _StorageMove) -> MoveFollower:
    def mover(told: Callable[[StorageMove], object]) -> Mover:
        blobs = process.stores.blobs(process.directory, 0, process.metrics.blob_damaged)
        placer = process.stores.placer(process.directory)
        return Mover(process.sql, changes, blobs, placer, leases, told)

    host, data = here(process.settings.data)
    return MoveFollower(process.sql, changes, host, data, move.take_over, move.give_back, mover)


async def _clear_up(process: Process, changes: Changes, leases: LocalLeases) -> None:
    """What is due before each round: what a power loss left (once), and what nothing in an object store needs."""
    if (leftovers := process.leftovers(changes)) is not None:
        await leftovers.collect()
    if process.directory.last_boot() != process.boot:
        removed = await _collector(process, changes, leases).sweep()
        process.directory.remember_boot(process.boot)
        log.info("looked through the blobs after a start of the machine", removed=removed)


def _collector(process: Process, changes: Changes, leases: LocalLeases) -> Collector:
    return Collector(
        process.reader,
        changes,
        process.blobs,
        process.uploads(changes),
        leases,
        system_clock,
        process.settings.uploads.expire_after,
        process.settings.collect.grace,
    )


async def _announce(process: Process, settings: Settings) -> None:
    if process.soft_state is not None:
        await process.soft_state.announce(f"{socket.gethostname()}:{settings.server.listen.port}")


def _reload(process: Process, reload: Callable[[], Settings]) -> None:
    try:
        settings = reload()
    except ConfigError as error:
        log.error("the settings were not read again: they have an error", error=str(error))
        return
    changed = [name for name in _FIXED if getattr(settings.server, name) != getattr(process.settings.server, name)]
    changed += [name for name in _FIXED_SECTIONS if getattr(settings, name) != getattr(process.settings, name)]
    if changed:
        log.warning("these settings change with the next start only", settings=changed)
    settings = _with_fixed(settings, process.settings)
    try:
        process.configure(settings)
    except StartupError as error:
        log.error("the settings were not read again: they have an error", error=str(error))
    else:
        log.info("the settings were read again")


def _with_fixed(settings: Settings, running: Settings) -> Settings:
    """New settings, but for what cannot change while the node runs."""
    fixed = {name: getattr(running.server, name) for name in _FIXED}
    whole = {name: getattr(running, name) for name in _FIXED_SECTIONS}
    return settings.model_copy(update={**whole, "server": settings.server.model_copy(update=fixed)})


def serve_worker(
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
    _, _, told = await channel.receive(reader)
    process = Process(Settings.model_validate_json(told), Metrics(Path(metrics_directory), __version__), commits)

    def configure(settings_json: str) -> None:
        process.configure(Settings.model_validate_json(settings_json))
        listener.answer = process.dispatcher(process.routes(node, node))

    node = channel.RemoteNode(reader, writer, configure)
    listener = process.listener(process.routes(node, node))
    front = Front(listener, sockets, shared=True)
    stop, _ = _signals()
    node_gone = asyncio.create_task(node.run())
    await front.start()
    gc.freeze()  # what the start made stays: later collections need not walk it
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, node_gone], return_when=asyncio.FIRST_COMPLETED)
    if not node_gone.done():
        await front.stop(process.settings.server.drain_timeout)
        writer.close()
    await process.close()


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Events for "stop" (SIGTERM, SIGINT) and "read the settings again" (SIGHUP)."""
    loop = asyncio.get_running_loop()
    stop, again = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    return stop, again


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _greet(settings: Settings, address: Address) -> None:
    """The three lines that a newcomer needs."""
    shown = address if not _is_any(address.host) else Address(socket.gethostname(), address.port)
    print(f"Shoal listens on  http://{shown}", flush=True)
    print(f"Push an image     docker tag IMAGE {shown}/IMAGE && docker push {shown}/IMAGE", flush=True)
    print(f"Data is kept in   {settings.data.resolve()}", flush=True)
    if settings.collect.grace < _SHORT_GRACE:
        log.warning("collect.grace is short: a push that takes longer can lose its blobs", grace=settings.collect.grace)
    if not address.is_loopback:
        log.warning("everybody who can connect may push, pull and delete (allow_anonymous)", listen=str(address))


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
