"""What every serving process is made of: the parts that settings name, and how they change while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from registry.config import Settings
from registry.domain.changes import ForgetGarbage
from registry.domain.clock import system_clock
from registry.domain.succession import Standing
from registry.errors import RegistryError, StorageFailure
from registry.http.blobs import BlobHandlers
from registry.http.control import MOST_CONNECTIONS, ControlGate
from registry.http.discovery import DiscoveryHandlers
from registry.http.dispatch import Dispatcher
from registry.http.links import Links
from registry.http.manifests import ManifestHandlers
from registry.http.read_only import of_a_slave, read_only
from registry.http.redirects import Redirects
from registry.http.router import Call, Route
from registry.http.server import Listener
from registry.http.stored_blobs import StoredBlobs
from registry.http.system import SystemHandlers
from registry.http.uploads import UploadHandlers
from registry.ports import Changes, UploadStore
from registry.ports.above import Above
from registry.ports.slaves import Slaves
from registry.processes.access import ProcessAccess
from registry.processes.allocator import keep_buffers
from registry.processes.feed import ProcessFeed
from registry.processes.node_parts import NodeParts
from registry.processes.sockets import most_connections
from registry.processes.tls import tls_of
from registry.processes.tls_door import TlsDoor
from registry.services.discovery import DiscoveryService
from registry.services.leftovers import LeftoverCollector
from registry.services.manifests import ManifestService
from registry.services.pull import PullService
from registry.services.push import PushService
from registry.services.signed_pull import SignatureGate
from registry.services.slaves import SlaveService
from registry.storage.files import DataDirectory
from registry.storage.landing import StagedReadThrough
from registry.storage.metadata.access import CurrentAccess
from registry.storage.metadata.cache import CachedReader
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.feed import SqlFeed, SqlSlaveFeed
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.replica_reader import SqlReplicaReader
from registry.storage.stores import Stores
from registry.telemetry.logs import AccessLog
from registry.telemetry.logs import configure as configure_logs
from registry.telemetry.metrics import Metrics
from registry.telemetry.requests import AnsweredRequest
from registry.wiring import boot_of_machine, bucket, database_of, policies_of, stores_of
from replication.content import Contents

if TYPE_CHECKING:
    from registry.storage.soft_state import SoftState

log = structlog.get_logger(__name__)

_FILE_THREADS = 16
_CACHE_BYTES = 32 * 1024 * 1024
_READY_WITHIN = 5.0  # seconds


class Process:
    """What every serving process has: readers of the metadata, threads for files, logs and metrics."""

    def __init__(
        self, settings: Settings, metrics: Metrics, commits: CommitCounter, standing: Standing | None = None
    ) -> None:
        keep_buffers()
        self.tls = tls_of(settings.tls)
        self.metrics = metrics
        self.commits = commits
        self.executor = ThreadPoolExecutor(_FILE_THREADS, "files")
        self.database = database_of(settings)
        self._rows = self.database.rows()
        self.sql = SqlReader(self._rows)
        self._replica_reader = SqlReplicaReader(self._rows, self.sql)
        freshness = self.database.freshness(self.sql, commits)
        self.reader = CachedReader(self.sql, freshness, _CACHE_BYTES)
        self.access = CurrentAccess(self.sql, freshness)
        self.boot = boot_of_machine()
        self.stores = stores_of(settings.storage, self.executor)
        self.soft_state = _soft_state(settings.redis.url)
        self.settings = settings
        self.standing = standing or Standing()
        self.feed = self._new_feed()
        self._former: list[Stores] = []
        self.access_log = AccessLog(settings.log.level, settings.log.format)
        self.configure(settings)

    @property
    def is_slave(self) -> bool:
        return self.settings.replication.is_slave

    def stand(self, standing: Standing) -> None:
        """Act on who writes the log. Who has taken the place of its master is none of its slaves any more, whatever
        the settings said at the start."""
        self.standing, settings = standing, self.settings
        if standing.promoted:
            settings = settings.model_copy(update={"replication": settings.replication.promoted()})
        self.configure(settings)

    def _new_feed(self) -> ProcessFeed:
        reader = SqlSlaveFeed(self._rows) if self.is_slave else SqlFeed(self._rows)
        # Postgres may have other nodes, whose commits are not counted here.
        return ProcessFeed(reader, reader, None if self.settings.database.url else self.commits)

    def configure(self, settings: Settings) -> None:
        """Take over the settings that can change while the process runs. Raises StartupError, and changes nothing."""
        before, now = self.settings.storage, settings.storage
        if (bucket(now), now.kind) != (bucket(before), before.kind):
            other = stores_of(now, self.executor)
            self._former.append(self.stores)  # requests that run go on with it
            self.stores = other
        was_slave = self.is_slave
        self.settings = settings
        if self.is_slave != was_slave:
            self.feed.end()
            self.feed = self._new_feed()
        if self.tls is not None:
            self.tls.look(finished=True)
        configure_logs(settings.log.level, settings.log.format)
        self.access_log.close()
        self.access_log = AccessLog(settings.log.level, settings.log.format)
        self._process_access = ProcessAccess(
            settings, self.access, self.sql, self.feed.reader, self._replica_reader, self.soft_state
        )
        self.directory = DataDirectory(settings.data, settings.storage.reserve)
        self.blobs = self.stores.served_blobs(
            self.directory, settings.storage.cache, self.metrics.blob_damaged, self.metrics
        )

    async def close(self) -> None:
        self.access_log.close()
        self.metrics.close()
        for used in (*self._former, self.stores):
            await used.close()
        if self.soft_state is not None:
            await self.soft_state.close()
        self.executor.shutdown()
        await self.reader.close()
        self.commits.close()

    def uploads(self, changes: Changes) -> UploadStore:
        return self.stores.uploads(self.directory, self.sql, changes)

    def leftovers(self, changes: Changes) -> LeftoverCollector | None:
        """What clears up an object store; None where there is none."""
        remains = self.stores.remains()
        delay = self.settings.collect.leftovers
        return LeftoverCollector(self.sql, remains, changes, system_clock, delay) if remains else None

    def routes(self, parts: NodeParts) -> list[Route]:
        """The URL map: every resource's routes, joined."""
        settings, changes = self.settings, parts.changes
        links = Links(settings.server.public_url)
        timeout = settings.server.body_timeout
        gate, above = self._signature_gate(), self._read_through(parts)
        pull = PullService(self.reader, self.blobs, changes, system_clock, settings.collect.grace, gate, above)
        push = PushService(self.uploads(changes), self.blobs, self.reader, changes, parts.leases)
        manifests = ManifestService(changes)
        system = self._system(parts)
        storage = settings.storage
        redirects = Redirects(storage.redirect, storage.stream_networks, settings.server.trusted_proxies)
        routes = [
            *ManifestHandlers(pull, manifests, links, timeout).routes(),
            *UploadHandlers(push, links, timeout, self._uploading).routes(),
            *BlobHandlers(pull, manifests, redirects).routes(),
            *DiscoveryHandlers(DiscoveryService(self.reader), links).routes(),
            *self._process_access.routes(parts),
            *self._feed_routes(parts),
            *system.routes(),
            *(() if settings.server.metrics_listen else system.metrics_routes()),
        ]
        return self._allowed(routes)

    def _allowed(self, routes: list[Route]) -> list[Route]:
        if self.is_slave:
            return read_only(routes, of_a_slave(self.settings.replication.master))
        refusal = self.standing.refusal(system_clock()) if self.standing.is_former else None
        return read_only(routes, refusal) if refusal is not None else routes

    def _feed_routes(self, parts: NodeParts) -> list[Route]:
        server, blobs = self.settings.server, StoredBlobs(self.reader, self.blobs, self._read_through(parts))
        waiting = server.trusted_proxies, server.body_timeout
        contents = Contents(self.reader, self._above(parts))
        return self.feed.routes(parts.slaves, parts.succession, self.access, blobs, *waiting, contents)

    def _above(self, parts: NodeParts) -> Above | None:
        """The registry above, where this one looks there for what clients ask for."""
        reads = self.is_slave and self.settings.replication.read_through != "off"
        return parts.above if reads else None

    def _read_through(self, parts: NodeParts) -> StagedReadThrough | None:
        above = self._above(parts)
        return StagedReadThrough(above, self.reader, self.blobs, self.directory) if above is not None else None

    @contextmanager
    def _uploading(self, call: Call) -> Iterator[None]:
        with self._process_access.uploading(call), self.metrics.uploading():
            yield

    def _signature_gate(self) -> SignatureGate | None:
        policies = policies_of(self.settings)
        return SignatureGate(self.reader, self.blobs, policies, system_clock) if policies else None

    def dispatcher(self, routes: Sequence[Route], parts: NodeParts) -> Dispatcher:
        gate = self._process_access.gate(parts.logins)
        return Dispatcher(routes, self._observe, self.settings.server.trusted_proxies, gate, parts.audit)

    def listener(self, routes: Sequence[Route], parts: NodeParts) -> Listener:
        server = self.settings.server
        most = most_connections(server.max_connections)
        if most < server.max_connections:
            log.warning("the limit of open files allows fewer connections than max_connections", connections=most)
        return Listener(self.dispatcher(routes, parts), most, server.idle_timeout, server.body_timeout)

    def door(self, listener: Listener) -> TlsDoor | None:
        """How clients get in by TLS; None where they connect without it."""
        server = self.settings.server
        return TlsDoor(listener, self.tls, server.idle_timeout, server.body_timeout) if self.tls else None

    def metrics_listener(self, parts: NodeParts) -> Listener:
        return self.listener(self._system(parts).metrics_routes(), parts)

    def control_listener(self, parts: NodeParts) -> Listener:
        """The administration alone, for the operator of this machine."""
        server = self.settings.server
        return Listener(self.control(parts), MOST_CONNECTIONS, server.idle_timeout, server.body_timeout)

    def control(self, parts: NodeParts) -> Dispatcher:
        """What answers there."""
        routes = self._allowed(self._process_access.api_routes(parts))
        return Dispatcher(routes, self._observe, (), ControlGate(), parts.audit)

    async def is_open(self) -> bool:
        """Whether everybody who can connect may do everything: there are no accounts, and nobody who could log in."""
        return (await self.access.table()).is_empty and not self._process_access.is_closed

    def log_of_its_own(self) -> SqlFeed:
        """The log that this node writes, or wrote."""
        return SqlFeed(self._rows)

    async def head_serial(self) -> int:
        return (await self.sql.head())[0]

    def _system(self, parts: NodeParts) -> SystemHandlers:
        return SystemHandlers(lambda: self._ready(parts.changes), self._notes, lambda: self._exposition(parts.slaves))

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

    async def _exposition(self, slaves: Slaves) -> tuple[bytes, str]:
        with suppress(RegistryError):  # what the database cannot tell now is as old as the last answer
            known = await SlaveService(slaves, self.feed.reader, system_clock).statuses()
            events = max((status.lag_events for status in known), default=0)
            self.metrics.slaves(len(known), events, max((status.lag_seconds for status in known), default=0.0))
        return self.metrics.render()

    def _observe(self, request: AnsweredRequest) -> None:
        self.access_log.record(request)
        self.metrics.observe_request(request)


def _soft_state(url: str) -> SoftState | None:
    if not url:
        return None
    from registry.storage.soft_state import SoftState  # takes long to import

    return SoftState(url)
