"""Makes, verifies and restores a backup: of the registry that the settings name, or into it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from registry.backup import restore as restoring
from registry.backup.create import Creator
from registry.backup.directory import DATABASE, BackupDirectory
from registry.backup.report import Report
from registry.backup.restore import Restorer
from registry.backup.verify import verify as verify_snapshots
from registry.config import Settings
from registry.errors import RegistryError, StartupError
from registry.storage.data_lock import sole_use
from registry.storage.files import DataDirectory
from registry.storage.metadata import copying, sqlite
from registry.storage.metadata.inventory import SqlInventory
from registry.storage.metadata.reader import SqlReader
from registry.storage.metadata.schema import SCHEMA_VERSION
from registry.storage.staged_file import remove_remains
from registry.telemetry.logs import configure as configure_logs
from registry.values import without_password
from registry.wiring import database_of, refuse_unnamed_bucket, stores_of

_EXTRA_THREADS = 4


def create(settings: Settings, target: Path, jobs: int, report: Report) -> None:
    """Add a snapshot to the backup in `target`, beside running nodes or without them. Raises StartupError."""
    _refuse_nested(settings.data, target)
    configure_logs(settings.log.level, settings.log.format)
    backup = BackupDirectory(target)
    with _translated(target), backup.held():
        asyncio.run(_create(settings, backup, jobs, report))


async def _create(settings: Settings, backup: BackupDirectory, jobs: int, report: Report) -> None:
    database = database_of(settings)
    found = database.version()
    if found is None or found[0] != SCHEMA_VERSION:
        has = "no database" if found is None else f"schema {found[0]}, and this version works with {SCHEMA_VERSION}"
        raise StartupError(f"{settings.data} has {has}: name another with --data or --config, or start a node first")
    executor = ThreadPoolExecutor(jobs + _EXTRA_THREADS, "backup")
    stores = stores_of(settings.storage, executor)
    rows = database.rows()

    def copy_database(file: Path) -> int:
        source = settings.database.url or f"sqlite:///{settings.data / sqlite.FILE_NAME}"
        return copying.copy(source, f"sqlite:///{file}", lambda *_: None, beside_nodes=True)

    try:
        await stores.check_at_start()
        await refuse_unnamed_bucket(settings.storage, SqlReader(rows))
        blobs = stores.blobs(DataDirectory(settings.data, settings.storage.reserve), lambda: None)
        await Creator(backup, blobs, SqlInventory(rows), copy_database, executor, jobs, report).run()
    finally:
        await stores.close()
        await rows.close()
        executor.shutdown()


def verify(source: Path, name: str, jobs: int, report: Report) -> None:
    """Read a snapshot and its blobs; all of them where `name` is "". Raises StartupError."""
    backup = BackupDirectory(source)
    wanted, damaged = ([backup.snapshot(name)], {}) if name else backup.snapshots()
    report.snapshot, report.problems = name, damaged
    with _translated(source), ThreadPoolExecutor(jobs, "backup") as executor:
        verify_snapshots(backup, wanted, executor, report)


def restore(settings: Settings, source: Path, name: str, jobs: int, report: Report) -> None:
    """Bring a snapshot into an empty data directory, and an empty database where that is elsewhere.

    Raises StartupError.
    """
    _refuse_nested(settings.data, source)
    configure_logs(settings.log.level, settings.log.format)
    backup = BackupDirectory(source)
    snapshot = backup.snapshot(name)
    with _translated(settings.data), sole_use(settings.data):
        directory = DataDirectory(settings.data, settings.storage.reserve)
        if database_of(settings).version() is not None:
            if not _lacks_only_its_end(settings, directory):
                place = without_password(settings.database.url) or settings.data
                raise StartupError(f"there is a database already ({place}): restore into an empty one")
            shutil.rmtree(restoring.begin(directory.restoring, snapshot).folder)
            report.snapshot = snapshot.name
            return
        directory.prepare(being_restored=True)
        if not directory.is_being_restored and not directory.is_empty():
            raise StartupError(f"{settings.data} holds blobs already: restore into an empty directory")
        mark = restoring.begin(directory.restoring, snapshot)
        remove_remains(directory.uploads)
        asyncio.run(_restore(settings, directory, Restorer(backup, snapshot, mark, report), jobs))
        shutil.rmtree(mark.folder)


def _lacks_only_its_end(settings: Settings, directory: DataDirectory) -> bool:
    """Whether an earlier run was cut off after the database was in its place: a restore begins where there is none."""
    if not directory.is_being_restored:
        return False
    file = directory.restoring / DATABASE
    if not settings.database.url:
        return not file.exists()  # it was renamed
    try:
        return file.exists() and copying.journal_end(f"sqlite:///{file}") == copying.journal_end(settings.database.url)
    except StartupError:  # the file was not complete, so it was not copied
        return False


async def _restore(settings: Settings, directory: DataDirectory, restorer: Restorer, jobs: int) -> None:
    executor = ThreadPoolExecutor(jobs + _EXTRA_THREADS, "restore")
    stores = stores_of(settings.storage, executor)
    try:
        await stores.check_at_start()
        placer = stores.placer(directory)
        await restorer.blobs(placer, jobs)
        file = restorer.database(placer)
    finally:
        await stores.close()
        executor.shutdown()
    if settings.database.url:
        copying.copy(f"sqlite:///{file}", settings.database.url, lambda *_: None)
    else:
        restoring.put_in_place(file, settings.data / sqlite.FILE_NAME)


def _refuse_nested(data: Path, backup: Path) -> None:
    inner, outer = data.resolve(), backup.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise StartupError(f"the backup {backup} and the data directory {data} must not lie in each other")


@contextmanager
def _translated(place: Path) -> Iterator[None]:
    """What a disk or a store refuses, told as StartupError: one line for an operator."""
    try:
        yield
    except* (OSError, RegistryError, StartupError) as group:
        raise _as_startup_error(group, place) from group


def _as_startup_error(group: BaseExceptionGroup[Exception], place: Path) -> StartupError:
    """The first of the errors that tasks had at the same time."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError):
        return StartupError(f"{error.filename or place}: {error.strerror}; mend that and run the same command again")
    if isinstance(error, RegistryError):
        return StartupError(f"{error.with_cause}; run the same command again to go on")
    assert isinstance(error, StartupError)
    return error
