"""Reading a backup as a whole: whether every snapshot could be restored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor

from registry.backup import database
from registry.backup.directory import BackupDirectory, Snapshot
from registry.backup.report import Report
from registry.errors import StartupError
from registry.ports import StoredBlob

_SLICE = 1024 * 1024


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
    for problem in executor.map(lambda blob: _wrong_with(backup, blob, report), wanted.values()):
        if problem is not None:
            digest, reason = problem
            report.problems[digest] = reason


def _wrong_with(backup: BackupDirectory, blob: StoredBlob, report: Report) -> tuple[str, str] | None:
    report.blobs += 1
    running, size = hashlib.new(blob.digest.algorithm), 0
    try:
        with backup.blob(blob.digest).open("rb") as file:
            while chunk := file.read(_SLICE):
                running.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        return str(blob.digest), "it is not there; `shoal backup create` copies it again"
    except OSError as error:
        return str(blob.digest), f"it cannot be read: {error.strerror}"
    if size != blob.size or running.hexdigest() != blob.digest.hex:
        return str(blob.digest), "it has other bytes: remove its file, and `shoal backup create` copies it again"
    return None
