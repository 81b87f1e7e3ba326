"""The node, put together: `shoal serve`, from its sockets and its database to the last connection."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import structlog

from registry import __version__
from registry.config import Address, ConfigError, Settings
from registry.domain.clock import system_clock
from registry.errors import RegistryError, StartupError
from registry.ports import Changes
from registry.processes.front import Front
from registry.processes.housekeeping import Housekeeping
from registry.processes.process import Process
from registry.processes.signals import stop_and_reload
from registry.processes.sockets import bind
from registry.processes.storage_move import NodeStorage, move_follower
from registry.processes.supervisor import Supervisor
from registry.services.collect import Collector
from registry.services.leases import LocalLeases
from registry.storage.data_lock import scratch, sole_use
from registry.storage.files import DataDirectory
from registry.storage.metadata import databases
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.writer import GroupCommitWriter
from registry.telemetry.logs import configure as configure_logs
from registry.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

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
    move = NodeStorage(process, reload)
    follower = move_follower(process, writer, leases, move)
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
    stop, again = stop_and_reload()
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
