"""A node that is a slave: what follows the master, put together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import structlog

from registry.config import Settings
from registry.domain.changes import Demote
from registry.domain.clock import system_clock
from registry.errors import StartupError
from registry.ports import Changes, Leases
from registry.processes.process import Process
from registry.replication_settings import ReplicationSettings
from registry.storage.metadata.feed import SqlSlaveFeed
from registry.storage.metadata.replica_reader import SqlReplicaReader
from replication.client import UpstreamClient
from replication.directed import Directed
from replication.fetch import Fetcher
from replication.read_through import ReadThrough
from replication.replica import Replica
from replication.transfers import Parts, Transfers
from replication.verify import Verifier
from replication.wire import Ack

log = structlog.get_logger(__name__)

_REST = 5.0
FORKS = "forks"
"""The folder of the data that has what a node had of logs that ended."""


def client_of(settings: Settings) -> UpstreamClient:
    """The way to the master. Raises StartupError where a file that is named cannot be used."""
    asked = settings.replication
    name = f"{socket.gethostname()}:{settings.server.listen[0].port}"
    return UpstreamClient(asked.master, _token(asked), asked.ca_file, asked.repositories, name)


class SlaveNode:
    """What a node has once where it is a slave."""

    def __init__(self, process: Process, changes: Changes, leases: Leases) -> None:
        """Raises StartupError where a file that is named cannot be used."""
        asked, self._rows = process.settings.replication, process.database.rows()
        self._changes = changes
        self._reader = reader = SqlReplicaReader(self._rows, process.sql)
        self._client = client_of(process.settings)
        self.configured, self._others = asked.master, asked.others
        self.is_lazy = asked.read_through == "lazy"
        parts = Parts(reader, process.reader, process.blobs, process.uploads(changes), changes, leases)
        transfers = Transfers(self._client, parts)
        self.above = ReadThrough(self._client, reader, transfers)
        self._replica = Replica(
            self._client,
            reader,
            process.reader,
            changes,
            lambda arrived: Fetcher(transfers, asked.transfers, arrived),
            asked.others,
            process.settings.data / FORKS,
            is_lazy=self.is_lazy,
        )
        feed = SqlSlaveFeed(self._rows)
        verifier = Verifier(self._client, reader, feed, feed, changes, self._replica.look_at)
        about = (verifier, self._client, reader, changes, system_clock, asked.verify, process.metrics.drifted)
        self._directed = Directed(self._replica, *about)
        self._task: asyncio.Task[None] | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that may have the log; the first one is `configured`."""
        return self.configured, *self._others

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """It may be started again."""
        await self.above.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def close(self) -> None:
        await self.stop()
        await self._client.close()
        await self._rows.close()

    async def status(self) -> Ack:
        """How far it is."""
        return await self._replica.status()

    async def waits(self) -> tuple[int, Sequence[str]]:
        """How many changes of repositories it does not show yet, and which repositories these are."""
        return (await self._reader.waiting()).events, await self._reader.pending_repositories()

    async def _run(self) -> None:
        if (await self._changes.submit(Demote())).changed:
            log.warning("this node was a master, and goes on as a slave of the log above it", url=self.configured)
        while True:
            try:
                await self._directed.run()
            except Exception:  # an error of the program: what waits is kept, so the next try may do better
                log.exception("the slave stopped following its master, and begins again", seconds=_REST)
            await asyncio.sleep(_REST)


async def refuse_copy(process: Process) -> None:
    """Raises StartupError where a slave's data would take pushes, which the master would never hear of."""
    if process.is_slave:
        return
    rows = process.database.rows()
    try:
        upstream = await SqlReplicaReader(rows, process.sql).upstream()
    finally:
        await rows.close()
    if upstream is not None:
        raise StartupError(
            f"{process.settings.data} is a copy of another registry: start it with --role slave --master URL, or where "
            f"that is lost for good make it one of its own: shoal replication detach --data {process.settings.data}"
        )


def _token(settings: ReplicationSettings) -> str:
    if not settings.token_file:
        return settings.token.get_secret_value()
    try:
        return Path(settings.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"replication.token_file: {settings.token_file} cannot be read: {error}") from None
