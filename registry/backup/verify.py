"""Reading a backup as a whole: whether every snapshot could be restored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

from registry.backup import database
from registry.backup.directory import BackupDirectory, Snapshot
from registry.backup.report import Report
from registry.errors import StartupError
from registry.ports import StoredBlob
from registry.storage.inspection import digest_of_file


def verify(backup: BackupDirectory, snapshots: Sequence[Snapshot], executor: Executor, report: Report) -> None:
    """Compare the databases and each blob that they name with their hashes; fills the report."""
    wanted: dict[str, StoredBlob] = {}
    for snapshot in snapshots:
        file = backup.database(snapshot)
        try:
            if database.hash_of(file) != snapshot.database:
                report.problems[snapshot.name] = "its database was changed"
                continue
            lost = snapshot.problems
            wanted |= {str(blob.digest): blob for blob in database.blobs_of(file) if str(blob.digest) not in lost}
        except (OSError, StartupError) as error:
            report.problems[snapshot.name] = str(error)
    report.expected = len(wanted)
    for digest, problem in zip(wanted, executor.map(partial(_wrong_with, backup), wanted.values()), strict=True):
        report.blobs += 1
        if problem:
            report.problems[digest] = problem


def _wrong_with(backup: BackupDirectory, blob: StoredBlob) -> str:
    try:
        found = digest_of_file(backup.blob(blob.digest), blob.digest.algorithm)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if found is None:
        return "it is not there; `shoal backup create` copies it again"
    return (
        "" if found == blob.digest else "it has other bytes: remove its file, and `shoal backup create` copies it again"
    )
