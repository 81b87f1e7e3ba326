"""The composition root: the one place that names concrete adapters and wires them together."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from registry import __version__, parts
from registry.config import Address, ConfigError, Settings
from registry.domain.changes import ForgetGarbage
from registry.domain.clock import system_clock
from registry.errors import StartupError, StorageFailure
from registry.http.blobs import BlobHandlers
from registry.http.discovery import DiscoveryHandlers
from registry.http.dispatch import Dispatcher
from registry.http.links import Links
from registry.http.manifests import ManifestHandlers
from registry.http.redirects import Redirects
from registry.http.router import Route
from registry.http.server import Listener
from registry.http.system import SystemHandlers
from registry.http.uploads import UploadHandlers
from registry.ports import Changes, Leases, UploadStore
from registry.processes import channel
from registry.processes.allocator import keep_buffers
from registry.processes.front import Front
from registry.processes.housekeeping import Housekeeping
from registry.processes.sockets import bind, most_connections
from registry.processes.supervisor import Supervisor
from registry.services.collect import Collector
from registry.services.discovery import DiscoveryService
from registry.services.leases import LocalLeases
from registry.services.leftovers import LeftoverCollector
from registry.services.manifests import ManifestService
from registry.services.pull import PullService
from registry.services.push import PushService
from registry.storage import stores
from registry.storage.data_lock import scratch, sole_use
from registry.storage.files import DataDirectory
from registry.storage.metadata import databases
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.writer import GroupCommitWriter
from registry.telemetry.logs import AccessLog
from registry.telemetry.logs import configure as configure_logs
from registry.telemetry.metrics import Metrics
from registry.telemetry.requests import AnsweredRequest

if TYPE_CHECKING:
    from registry.storage.soft_state import SoftState

log = structlog.get_logger(__name__)

_FILE_THREADS = 16
_CACHE_BYTES = 32 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_SHORT_GRACE = 300.0
_READY_WITHIN = 5.0
_FIXED = ("listen", "workers", "metrics_listen", "max_connections", "idle_timeout", "body_timeout")  # of [server]
_FIXED_SECTIONS = ("data", "database", "redis")


class Process:
    """What every serving process has: readers of the metadata, threads for files, logs and metrics."""

    def __init__(self, settings: Settings, metrics: Metrics, commits: CommitCounter) -> None:
        keep_buffers()
        self.metrics = metrics
        self.commits = commits
        self.executor = ThreadPoolExecutor(_FILE_THREADS, "files")
        self.database = databases.chosen(settings.database.url, settings.data)
        self._sql = self.database.reader()
        self.reader = self.database.cached(self._sql, commits, _CACHE_BYTES)
        self.boot = parts.boot_of_machine()
        self.stores = stores.chosen(parts.bucket(settings.storage), self.executor, self.boot, system_clock)
        self.soft_state = _soft_state(settings.redis.url)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take over the settings that can change while the process runs."""
        self.settings = settings
        configure_logs(settings.log.level, settings.log.format)
        self.access_log = AccessLog(settings.log.level, settings.log.format)
        self.directory = DataDirectory(settings.data, settings.storage.reserve)
        self.blobs = self.stores.blobs(self.directory, settings.storage.cache)

    async def close(self) -> None:
        self.access_log.close()
        self.metrics.close()
        await self.stores.close()
        if self.soft_state is not None:
            await self.soft_state.close()
        self.executor.shutdown()
        await self.reader.close()
        self.commits.close()

    def uploads(self, changes: Changes) -> UploadStore:
        return self.stores.uploads(self.directory, self._sql, changes)

    def leftovers(self, changes: Changes) -> LeftoverCollector | None:
        """What clears up an object store; None where there is none."""
        remains = self.stores.remains()
        delay = self.settings.collect.leftovers
        return LeftoverCollector(self._sql, remains, changes, system_clock, delay) if remains else None

    def routes(self, changes: Changes, leases: Leases) -> list[Route]:
        """The URL map: every resource's routes, joined."""
        settings = self.settings
        links = Links(settings.server.public_url)
        timeout = settings.server.body_timeout
        pull = PullService(self.reader, self.blobs, changes, system_clock, settings.collect.grace)
        push = PushService(self.uploads(changes), self.blobs, self.reader, changes, leases)
        manifests = ManifestService(changes)
        system = self._system(changes)
        storage = settings.storage
        redirects = Redirects(storage.redirect, storage.stream_networks, settings.server.trusted_proxies)
        return [
            *ManifestHandlers(pull, manifests, links, timeout).routes(),
            *UploadHandlers(push, links, timeout, self.metrics.uploading).routes(),
            *BlobHandlers(pull, manifests, redirects).routes(),
            *DiscoveryHandlers(DiscoveryService(self.reader), links).routes(),
            *system.routes(),
            *(() if settings.server.metrics_listen else system.metrics_routes()),
        ]

    def dispatcher(self, routes: Sequence[Route]) -> Dispatcher:
        return Dispatcher(routes, self._observe, self.settings.server.trusted_proxies)

    def listener(self, routes: Sequence[Route]) -> Listener:
        server = self.settings.server
        most = most_connections(server.max_connections)
        if most < server.max_connections:
            log.warning("the limit of open files allows fewer connections than max_connections", connections=most)
        return Listener(self.dispatcher(routes), most, server.idle_timeout, server.body_timeout)

    def metrics_listener(self, changes: Changes) -> Listener:
        return self.listener(self._system(changes).metrics_routes())

    async def head_serial(self) -> int:
        return (await self._sql.head())[0]

    def _system(self, changes: Changes) -> SystemHandlers:
        return SystemHandlers(lambda: self._ready(changes), self._notes, self._exposition)

    async def _ready(self, changes: Changes) -> None:
        """The disk takes a file, the database answers, and its writer makes a change (an empty one)."""
        await self.reader.check()
        await self.uploads(changes).check()
        try:
            await asyncio.wait_for(changes.submit(ForgetGarbage(())), _READY_WITHIN)
        except TimeoutError:
            raise StorageFailure("the database takes no changes") from None

    async def _notes(self) -> Sequence[str]:
        return [await self.soft_state.note()] if self.soft_state else []

    async def _exposition(self) -> tuple[bytes, str]:
        return self.metrics.render()

    def _observe(self, request: AnsweredRequest) -> None:
        self.access_log.record(request)
        self.metrics.observe_request(request)


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
    try:
        await process.stores.check_at_start()
    except StartupError:
        await process.close()
        raise
    writer.start()
    leases = LocalLeases()
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
    announcing = asyncio.create_task(_announce(process, settings))
    _greet(settings, Address(settings.server.listen.host, sockets[0].getsockname()[1]))
    process.metrics.journal_at(await process.head_serial())
    gc.freeze()  # what the start made stays: later collections need not walk it

    while not stop.is_set():
        await _first(stop, again)
        if again.is_set() and not stop.is_set():
            again.clear()
            _reload(process, reload)
            listener.answer = process.dispatcher(process.routes(writer, leases))
            housekeeping.change_interval(process.settings.collect.interval)
            if supervisor is not None:
                await supervisor.reload()

    log.info("stopping: running requests may end", seconds=process.settings.server.drain_timeout)
    announcing.cancel()
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


def _soft_state(url: str) -> SoftState | None:
    if not url:
        return None
    from registry.storage.soft_state import SoftState  # takes long to import

    return SoftState(url)


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
    process.access_log.close()
    process.configure(settings)
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
        process.access_log.close()
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
