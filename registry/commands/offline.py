"""A node without its server: for commands that work on the data while nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from registry.api.operation import Administration
from registry.auth.accounts import AccountService
from registry.auth.keys import KeyRotation
from registry.auth.passwords import Passwords
from registry.auth.replicas import ReplicaService
from registry.auth.tokens import REFRESH_LIFETIME
from registry.config import Settings
from registry.domain.changes import Detach
from registry.domain.clock import system_clock
from registry.errors import StartupError
from registry.ports import Adopter, Audit, BlobStore, Changes
from registry.processes.succession import NoSuccession
from registry.services.leases import LocalLeases
from registry.services.manifests import ManifestService
from registry.services.own_replication import OwnReplication
from registry.services.push import PushService
from registry.services.slaves import SlaveService
from registry.storage.audit_log import AuditLog
from registry.storage.data_lock import sole_use
from registry.storage.files import DataDirectory
from registry.storage.metadata.access import CurrentAccess
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.feed import SqlFeed
from registry.storage.metadata.inventory import SqlInventory
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.replica_reader import SqlReplicaReader
from registry.storage.metadata.writer import GroupCommitWriter
from registry.storage.stores import Stores
from registry.wiring import database_of, refuse_unnamed_bucket, stores_of
from replication.slaves import NoSlaves

_FILE_THREADS = 16


@dataclass(frozen=True, slots=True)
class OfflineNode:
    """The parts of a node."""

    directory: DataDirectory
    executor: ThreadPoolExecutor
    stores: Stores
    reader: SqlReader
    inventory: SqlInventory
    blobs: BlobStore
    changes: Changes
    push: PushService
    manifests: ManifestService
    adopter: Adopter


@contextmanager
def held(settings: Settings, *, may_be_new: bool) -> Iterator[DataDirectory]:
    """The data directory for this process alone, with a database that is up to date.

    Raises StartupError, and of it DataInUse where a server runs.
    """
    if not may_be_new and not settings.data.is_dir():
        raise StartupError(f"there is no data directory {settings.data}: name another with --data")
    with sole_use(settings.data):
        directory = DataDirectory(settings.data, settings.storage.reserve)
        database = database_of(settings)
        if not may_be_new and database.version() is None:
            raise StartupError(f"{settings.data} has no database: name another with --data or --config")
        directory.prepare()
        database.prepare(may_be_new=directory.is_empty())
        yield directory


@asynccontextmanager
async def opened(settings: Settings, directory: DataDirectory) -> AsyncIterator[OfflineNode]:
    """The parts, in the event loop that will use them; `directory` as held. Raises StartupError."""
    executor, commits = ThreadPoolExecutor(_FILE_THREADS, "files"), CommitCounter.create()
    database = database_of(settings)
    rows = database.rows()
    reader, stores = SqlReader(rows), stores_of(settings.storage, executor)
    writer = GroupCommitWriter(database.transactions(), commits, system_clock, lambda _count, _serial: None)
    writer.start()
    try:
        await stores.check_at_start()
        await refuse_unnamed_bucket(settings.storage, reader)
        blobs = stores.blobs(directory, lambda: None)
        leases, uploads = LocalLeases(), stores.uploads(directory, reader, writer)
        yield OfflineNode(
            directory,
            executor,
            stores,
            reader,
            SqlInventory(rows),
            blobs,
            writer,
            PushService(uploads, blobs, reader, writer, leases),
            ManifestService(writer),
            stores.adopter(directory, writer, settings.collect.keep_plans_every),
        )
    finally:
        await asyncio.shield(writer.stop())
        await stores.close()
        await reader.close()
        executor.shutdown()
        commits.close()


async def detached(settings: Settings) -> bool:
    """Make a slave's data those of a registry of its own; False where they are none of a slave. They are held."""
    commits, database = CommitCounter.create(), database_of(settings)
    writer = GroupCommitWriter(database.transactions(), commits, system_clock, lambda _count, _serial: None)
    writer.start()
    try:
        return (await writer.submit(Detach())).changed
    finally:
        await asyncio.shield(writer.stop())
        commits.close()


@asynccontextmanager
async def administered(settings: Settings, directory: DataDirectory) -> AsyncIterator[tuple[Administration, Audit]]:
    """Accounts and what belongs to them, in a data directory that is held. The stores of blobs are not asked.

    Raises StartupError.
    """
    audit = AuditLog(directory.audit, system_clock, settings.audit.keep)
    commits, database, passwords = CommitCounter.create(), database_of(settings), Passwords()
    rows = database.rows()
    reader = SqlReader(rows)
    freshness = database.freshness(reader, commits)
    access = CurrentAccess(reader, freshness)
    writer = GroupCommitWriter(database.transactions(), commits, system_clock, lambda _count, _serial: None)
    writer.start()
    try:
        if await SqlReplicaReader(rows, reader).upstream() is not None:
            raise StartupError("this is a slave's data: give the command at its master")
        accounts = AccountService(access, writer, passwords, system_clock)
        keys = KeyRotation(access, reader, writer, system_clock, REFRESH_LIFETIME)
        replicas = ReplicaService(access, writer, system_clock)
        own = OwnReplication("", SqlReplicaReader(rows, reader), writer)
        audit.start()
        slaves = SlaveService(NoSlaves(), SqlFeed(rows), system_clock)
        yield Administration(accounts, keys, replicas, slaves, own, NoSuccession()), audit
    finally:
        await audit.stop()
        await asyncio.shield(writer.stop())
        passwords.close()
        await freshness.close()
        await reader.close()
        commits.close()
