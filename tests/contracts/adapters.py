"""The adapters of each port, set up alike, so that one suite can be run over all of them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from registry.auth.oidc import Login
from registry.auth.people import Return
from registry.domain.access import Principal
from registry.domain.changes import LinkBlob
from registry.domain.digest import Digest
from registry.errors import Unauthorized
from registry.http.auditing import NoAudit
from registry.ports import (
    AccessReader,
    BlobStore,
    Changes,
    Journal,
    Leases,
    MetadataReader,
    MoveReader,
    Removals,
    SessionReader,
    UploadStore,
)
from registry.processes.channel import RemoteNode, WorkerSession
from registry.processes.node_parts import NodeParts
from registry.processes.succession import NoSuccession
from registry.services.leases import LocalLeases
from registry.storage.blobs_fs import FileBlobs
from registry.storage.blobs_store import StoreBlobs
from registry.storage.files import DataDirectory
from registry.storage.memory.blobs import MemoryBlobs
from registry.storage.memory.metadata import MemoryMetadata
from registry.storage.memory.uploads import MemoryUploads
from registry.storage.metadata import databases
from registry.storage.metadata.cache import CachedReader
from registry.storage.metadata.commits import CommitCounter
from registry.storage.metadata.writer import GroupCommitWriter
from registry.storage.s3.client import S3Client
from registry.storage.s3.settings import StoreSettings
from registry.storage.uploads_fs import FileUploads
from registry.storage.uploads_store import StoreUploads
from replication.slaves import HeardSlaves

CACHE_BYTES = 1024 * 1024
METADATA = ("memory", "sql", "sql with a cache", "sql over the channel")
POSTGRES = ("postgres", "postgres with a cache")
LEASES = ("local", "over the channel")
STORES = ("memory", "files")


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Metadata:
    """`changes` is what serves clients; `node` is what the collector has, in the process of the node."""

    reader: MetadataReader
    journal: Journal
    sessions: SessionReader
    moves: MoveReader
    access: AccessReader
    changes: Changes
    node: Changes
    clock: ManualClock


@asynccontextmanager
async def metadata(kind: str, data: Path, url: str = "") -> AsyncIterator[Metadata]:
    """`url`: of a new database, for the kinds with Postgres."""
    clock = ManualClock()
    if kind == "memory":
        memory = MemoryMetadata(clock)
        yield Metadata(memory, memory, memory, memory, memory, memory, memory, clock)
        return
    database = databases.chosen(url, data)
    database.prepare(may_be_new=True)
    commits = CommitCounter.create()
    sql = database.reader()
    cached = CachedReader(sql, database.freshness(sql, commits), CACHE_BYTES)
    writer = GroupCommitWriter(database.transactions(), commits, clock, lambda _count, _serial: None)
    writer.start()
    reader: MetadataReader = sql if kind in ("sql", "postgres") else cached
    try:
        if kind == "sql over the channel":
            async with worker_of(writer, LocalLeases()) as remote:
                yield Metadata(reader, sql, sql, sql, sql, remote, writer, clock)
        else:
            yield Metadata(reader, sql, sql, sql, sql, writer, writer, clock)
    finally:
        await writer.stop()
        await cached.close()
        commits.close()


class Nobody:
    """Logins of a node without accounts."""

    async def login(self, name: str, password: str, address: str) -> Principal:
        raise Unauthorized("nobody can log in here")

    async def hash(self, password: str) -> str:
        raise Unauthorized("nobody has a password here")

    async def way_to(self, issuer: str, login: Login, redirect_uri: str) -> str:
        raise Unauthorized("nobody comes with a browser")

    async def who_came(self, back: Return) -> Principal:
        raise Unauthorized("nobody comes with a browser")


@asynccontextmanager
async def worker_of(changes: Changes, leases: LocalLeases) -> AsyncIterator[RemoteNode]:
    """A worker of the node that has these, with a real socket pair between the two."""
    ours, theirs = socket.socketpair()
    node_reader, node_writer = await asyncio.open_connection(sock=ours)
    worker_reader, worker_writer = await asyncio.open_connection(sock=theirs)
    remote = RemoteNode(worker_reader, worker_writer, lambda _settings, _standing: None)
    parts = NodeParts(changes, leases, Nobody(), Nobody(), NoAudit(), HeardSlaves(ManualClock()), NoSuccession())
    tasks = [
        asyncio.create_task(WorkerSession(node_reader, node_writer, parts, leases).run()),
        asyncio.create_task(remote.run()),
    ]
    try:
        yield remote
    finally:
        worker_writer.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks), 5)


@dataclass(frozen=True)
class LeaseSides:
    """Two that lease, and the collector's side."""

    one: Leases
    other: Leases
    removals: Removals


@asynccontextmanager
async def lease_sides(kind: str) -> AsyncIterator[LeaseSides]:
    local = LocalLeases()
    if kind == "local":
        yield LeaseSides(local, local, local)
        return
    changes = MemoryMetadata(ManualClock())
    async with worker_of(changes, local) as one, worker_of(changes, local) as other:
        yield LeaseSides(one, other, local)


@dataclass(frozen=True)
class Stores:
    """Where uploads are staged and where they become blobs.

    `age(upload_id, seconds)`: let the last byte of a session be that much older; `full()`: the same uploads on a
    disk without room; `now()`: the store's time; `link(change)`: make the row of a blob, where that is what ends its
    session.
    """

    uploads: UploadStore
    blobs: BlobStore
    age: Callable[[str, float], None]
    full: Callable[[], UploadStore]
    now: Callable[[], float]
    link: Callable[[LinkBlob], Awaitable[object]]


@dataclass(frozen=True)
class StoresByDigest(Stores):
    """Stores that name blobs by their digest. `damage(digest, content)`: put other bytes in the place of a blob."""

    damage: Callable[[Digest, bytes], None]


async def _no_row(_link: LinkBlob) -> None:
    """The row is not what ends the session here."""


@asynccontextmanager
async def object_stores(bucket: StoreSettings, data: Path) -> AsyncIterator[Stores]:
    """Sessions in memory, bytes in a bucket."""
    directory, clock = DataDirectory(data, reserve=0), ManualClock()
    directory.prepare()
    memory, client = MemoryMetadata(clock), S3Client(bucket)

    def age(upload_id: str, seconds: float) -> None:
        session = memory.sessions[upload_id]
        memory.sessions[upload_id] = replace(session, last_byte=session.last_byte - seconds)

    with ThreadPoolExecutor(4) as executor:

        def uploads(reserve: int) -> StoreUploads:
            return StoreUploads(client, memory, memory, DataDirectory(data, reserve), executor, clock, 0.3)

        blobs = StoreBlobs(client, FileBlobs(directory, executor), lambda: None)
        yield Stores(uploads(0), blobs, age, lambda: uploads(2**62), clock, memory.submit)
        await client.close()


@asynccontextmanager
async def stores(kind: str, data: Path) -> AsyncIterator[StoresByDigest]:
    if kind == "memory":
        yield memory_stores()
        return
    with ThreadPoolExecutor(4) as executor:
        yield file_stores(data, executor)


def memory_stores() -> StoresByDigest:
    clock, blobs = ManualClock(), MemoryBlobs()
    uploads = MemoryUploads(blobs, clock)

    def age(upload_id: str, seconds: float) -> None:
        uploads.sessions[upload_id].last_byte -= seconds

    def full() -> MemoryUploads:
        uploads.room = 0
        return uploads

    return StoresByDigest(uploads, blobs, age, full, clock, _no_row, blobs.contents.__setitem__)


def file_stores(data: Path, executor: ThreadPoolExecutor) -> StoresByDigest:
    directory = DataDirectory(data, reserve=0)
    directory.prepare()

    def age(upload_id: str, seconds: float) -> None:
        for path in directory.uploads.glob(f"{upload_id}.*"):
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))

    def damage(digest: Digest, content: bytes) -> None:
        directory.blob(digest).write_bytes(content)

    def full() -> FileUploads:
        return FileUploads(DataDirectory(data, reserve=2**62), executor, "boot")

    def now() -> float:
        """File times: the clock of the file system, which is what a session's last byte is dated by."""
        probe = data / "now"
        probe.touch()
        return probe.stat().st_mtime

    uploads, blobs = FileUploads(directory, executor, "boot"), FileBlobs(directory, executor)
    return StoresByDigest(uploads, blobs, age, full, now, _no_row, damage)
