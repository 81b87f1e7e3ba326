"""Who may use a data directory: one `shoal serve` at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.errors import StartupError
from registry.storage.files import sync_directory


@contextmanager
def sole_use(data: Path) -> Iterator[None]:
    """Hold the data directory; raises StartupError where another process has it."""
    try:
        _make_durably(data)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StartupError(
            f"the data directory {data} cannot be used: {error.strerror}; name another with --data"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StartupError(
            f"the data directory {data} is in use by another shoal: stop that one, or name another with --data"
        ) from None
    try:
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
def scratch(path: Path) -> Iterator[str]:
    """A folder that is empty at the start and gone at the end; what a crash left in it is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield str(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
