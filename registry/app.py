"""The node, put together: `shoal serve`, from its sockets and its database to the last connection."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog

from registry import __version__
from registry.config import Address, ConfigError, Settings
from registry.domain.clock import system_clock
from registry.domain.succession import Standing
from registry.errors import RegistryError, StartupError
from registry.processes.access import NodeAccess
from registry.processes.control import control_socket
from registry.processes.front import Front
from registry.processes.greeting import address_of, greet, refuse_open_door
from registry.processes.housekeeping import Housekeeping
from registry.processes.move_follower import MoveFollower
from registry.processes.node_parts import NodeParts
from registry.processes.process import Process
from registry.processes.signals import stop_and_reload
from registry.processes.slave import SlaveNode, client_of, refuse_copy
from registry.processes.sockets import bind, bind_all
from registry.processes.storage_move import NodeStorage, move_follower
from registry.processes.succession import NodeSuccession
from registry.processes.supervisor import Supervisor
from registry.services.collect import Collector
from registry.services.leases import LocalLeases
from registry.services.log_cut import Kept, LogCutter
from registry.storage.audit_log import AuditLog
from registry.storage.data_lock import scratch, sole_use
from registry.storage.files import DataDirectory
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.writer import GroupCommitWriter
from registry.telemetry.logs import configure as configure_logs
from registry.telemetry.metrics import Metrics
from registry.wiring import database_of, refuse_unnamed_bucket
from replication.slaves import HeardSlaves

log = structlog.get_logger(__name__)

_FIXED = ("listen", "workers", "metrics_listen", "max_connections", "idle_timeout", "body_timeout")  # of [server]
_FIXED_SECTIONS = ("data", "tls", "database", "redis", "auth", "audit", "replication")


def serve(settings: Settings, reload: Callable[[], Settings]) -> int:
    """Run a node until SIGTERM or SIGINT; the exit code. Raises StartupError."""
    configure_logs(settings.log.level, settings.log.format)
    with ExitStack() as stack:
        stack.enter_context(sole_use(settings.data))
        directory = DataDirectory(settings.data, settings.storage.reserve)
        directory.prepare()
        database_of(settings).prepare(may_be_new=directory.is_empty())
        sockets = [stack.enter_context(listening) for listening in bind_all(settings.server.listen)]
        metrics_at = settings.server.metrics_listen
        metrics_sockets = [stack.enter_context(bind(metrics_at, "server.metrics_listen"))] if metrics_at else []
        control = stack.enter_context(control_socket(settings.data))
        metrics_directory = stack.enter_context(scratch(settings.data / "metrics"))
        asyncio.run(_node(settings, reload, sockets, metrics_sockets, control, metrics_directory))
    return 0


async def _node(
    settings: Settings,
    reload: Callable[[], Settings],
    sockets: list[socket.socket],
    metrics_sockets: list[socket.socket],
    control: list[socket.socket],
    metrics_directory: str,
) -> None:
    process = Process(settings, Metrics(Path(metrics_directory), __version__), CommitCounter.create())
    transactions = process.database.transactions()
    writer = GroupCommitWriter(transactions, process.commits, system_clock, process.metrics.committed)
    leases = LocalLeases()
    storage = NodeStorage(process, reload)
    follower = move_follower(process, writer, leases, storage)
    try:
        await follower.follow_at_start()  # the parts below depend on what this chooses
        await process.stores.check_at_start()
        await refuse_unnamed_bucket(process.settings.storage, process.sql)
        refuse_open_door(process.settings, await process.access.table())
        if (standing := await process.log_of_its_own().standing()) != process.standing:
            process.stand(standing)
        await refuse_copy(process)
    except (StartupError, RegistryError) as error:
        await process.close()
        raise StartupError(str(error)) from error
    node = _Node(process, writer, leases, storage, follower, sockets, metrics_sockets, control, metrics_directory)
    stop, read_again = await node.start()
    ports = [listening.getsockname()[1] for listening in sockets]
    addresses = [Address(at.host, port) for at, port in zip(settings.server.listen, ports, strict=True)]
    greet(process.settings, addresses, is_open=await process.is_open())
    gc.freeze()  # what the start made stays: later collections need not walk it
    while not stop.is_set():
        await _first(stop, read_again)
        if read_again.is_set() and not stop.is_set():
            read_again.clear()
            await node.reload()
    await node.stop()


class _Node:
    """What one node has once, whatever the number of its workers. With one worker it serves clients itself."""

    def __init__(
        self,
        process: Process,
        writer: GroupCommitWriter,
        leases: LocalLeases,
        storage: NodeStorage,
        follower: MoveFollower,
        sockets: list[socket.socket],
        metrics_sockets: list[socket.socket],
        control: list[socket.socket],
        metrics_directory: str,
    ) -> None:
        self._process = process
        self._writer = writer
        self._leases = leases
        self._storage = storage
        self._follower = follower
        self._access = NodeAccess(process.access, process.sql, writer, process.settings.auth)
        self._audit = AuditLog(process.directory.audit, system_clock, process.settings.audit.keep)
        slaves = HeardSlaves(system_clock)
        logins, people = self._access.logins, self._access.people
        self._succession = self._new_succession()
        self._succession.slave = slave = SlaveNode(process, writer, leases) if process.is_slave else None
        above = slave.above if slave else None
        self._parts = parts = NodeParts(writer, leases, logins, people, self._audit, slaves, self._succession, above)
        self._sockets = sockets
        self._log_cutter = LogCutter(slaves, writer, system_clock, sees_all=not process.settings.database.url)
        self._housekeeping = Housekeeping(self._collector, self._clear_up, process.metrics.blobs_collected)
        self._listener = process.listener(process.routes(parts), parts)
        self._control = process.control_listener(parts)
        self._fronts = [Front(self._control, control, shared=False)]
        if metrics_sockets:
            self._fronts.append(Front(process.metrics_listener(parts), metrics_sockets, shared=False))
        self._supervisor: Supervisor | None = None
        if process.settings.server.workers == 1:
            self._fronts.append(Front(self._listener, sockets, process.door(self._listener), shared=False))
        else:
            self._supervisor = Supervisor(
                process.settings.server.workers,
                sockets,
                lambda: (process.settings.model_dump_json(), process.standing.to_text()),
                metrics_directory,
                process.commits.descriptor,
                parts,
                leases,
                process.metrics.worker_died,
            )
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Begin to serve; the events of signals.stop_and_reload."""
        process = self._process
        self._writer.start()
        self._audit.start()
        await self._rotate_keys()
        events = stop_and_reload()
        if self._supervisor is not None:
            self._supervisor.start()
        for front in self._fronts:
            await front.start()
        if self._succession.slave is not None:
            self._succession.slave.start()
        self._succession.start(process.standing)
        self._housekeeping.start(process.settings.collect.interval)
        self._background = [asyncio.create_task(self._announce()), asyncio.create_task(self._follower.run())]
        self._storage.use_settings = self._use_settings
        process.metrics.journal_at(await process.head_serial())
        return events

    async def reload(self) -> None:
        """Read the settings again and use them, but for those that need a start; one with an error changes nothing."""
        _reload(self._process, self._storage.settings)
        await self._use_settings()

    def _new_succession(self) -> NodeSuccession:
        process = self._process
        url = address_of(process.settings)
        client = client_of(process.settings)
        return NodeSuccession(process.log_of_its_own(), self._writer, client, url, self._use_standing)

    async def _use_standing(self, standing: Standing) -> None:
        self._process.stand(standing)
        await self._use_settings()
        await self._rotate_keys()

    async def _use_settings(self) -> None:
        process = self._process
        self._listener.answer = process.dispatcher(process.routes(self._parts), self._parts)
        self._control.answer = process.control(self._parts)
        self._housekeeping.change_interval(process.settings.collect.interval)
        if self._supervisor is not None:
            await self._supervisor.reload()

    async def stop(self) -> None:
        """Take no new connections, let running requests end within the drain timeout, then close everything."""
        drain_timeout = self._process.settings.server.drain_timeout
        log.info("stopping: running requests may end", seconds=drain_timeout)
        for task in self._background:
            task.cancel()
        self._process.feed.end()
        await self._housekeeping.stop()
        await self._succession.stop()
        if self._supervisor is not None:
            for listening in self._sockets:
                listening.close()
            await self._supervisor.stop(drain_timeout)
        for front in self._fronts:
            await front.stop(drain_timeout)
        await self._audit.stop()
        await self._writer.stop()
        await self._access.close()
        await self._process.close()

    async def _announce(self) -> None:
        if (soft_state := self._process.soft_state) is not None:
            await soft_state.announce(f"{socket.gethostname()}:{self._process.settings.server.listen[0].port}")

    async def _clear_up(self) -> None:
        """What is due before each round: what a power loss left (once), and what nothing in an object store needs."""
        process = self._process
        await self._rotate_keys()
        kept = process.settings.replication
        above = process.feed.reader if process.is_slave else None
        await self._log_cutter.cut(Kept(kept.keep_events, kept.most_events), await process.head_serial(), above)
        if (leftovers := process.leftovers(self._writer)) is not None:
            await leftovers.collect()
        if process.directory.last_boot() != process.boot:
            removed = await self._collector().sweep()
            process.directory.remember_boot(process.boot)
            log.info("looked through the blobs after a start of the machine", removed=removed)

    async def _rotate_keys(self) -> None:
        if not self._process.standing.is_former:  # nothing may change there
            await self._access.keys.rotate_if_due()

    def _collector(self) -> Collector:
        process = self._process
        return Collector(
            process.reader,
            self._writer,
            process.blobs,
            process.uploads(self._writer),
            self._leases,
            system_clock,
            process.settings.uploads.expire_after,
            process.settings.collect.grace,
        )


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
