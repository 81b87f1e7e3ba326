"""Who may use a data directory: one `shoal serve` at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import DataInUse, StartupError
from registry.storage.files import sync_directory, try_lock

_SCRATCH_PREFIX = "shoal-metrics-"


@contextmanager
def sole_use(data: Path) -> Iterator[None]:
    """Hold the data directory; raises DataInUse where another process has it, StartupError."""
    if data.exists() and not data.is_dir():
        raise StartupError(f"the data directory {data} is a file; name another with --data")
    try:
        _make_durably(data)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartupError(
            f"the data directory {data} cannot be used: {error.strerror}; name another with --data"
        ) from error
    try:
        if not try_lock(lock):
            raise DataInUse(
                f"the data directory {data} is in use by another shoal: stop that one, or name another with --data"
            )
        yield
    finally:
        os.close(lock)


def _make_durably(data: Path) -> None:
    """Make a folder and those above it, so that a power loss cannot take it away with what is in it."""
    missing = [folder for folder in (data, *data.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_directory(folder.parent)


@contextmanager
def scratch(link: Path) -> Iterator[str]:
    """A folder in memory for as long as the node runs; `link` leads to it, and to what a crash left.

    Processes map the files in it: on a disk that is full the first touch of a new page would end them.
    """
    _remove_scratch(link)
    memory = Path("/dev/shm")  # noqa: S108 - the folder below has a name that nobody can know before
    folder = tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=memory if memory.is_dir() else None)
    link.symlink_to(folder)
    try:
        yield folder
    finally:
        _remove_scratch(link)


def _remove_scratch(link: Path) -> None:
    if link.is_symlink():
        folder = link.readlink()
        if folder.name.startswith(_SCRATCH_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
        link.unlink()
