"""The storage of docker-registry on a file system of this machine."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from registry.errors import StartupError
from registry.imports.tree import ROOT, Readable


class LocalTree:
    """TreeFiles below a directory."""

    def __init__(self, directory: Path) -> None:
        """`directory`: the `rootdirectory` of docker-registry, or the folder `v2` itself. Raises StartupError."""
        inner = directory / ROOT
        self._root = inner if inner.is_dir() else directory
        if not all((self._root / name).is_dir() for name in ("blobs", "repositories")):
            raise StartupError(
                f"{directory} holds no storage of docker-registry: name the directory that its configuration "
                f"calls rootdirectory; {ROOT} with blobs and repositories is in it"
            )

    def folders(self, path: str) -> Sequence[str]:
        try:
            with os.scandir(self._root / path) as entries:
                found = [entry for entry in entries if entry.is_dir(follow_symlinks=False) or self._leads_on(entry)]
        except FileNotFoundError:
            return []
        return [entry.name for entry in found]

    def _leads_on(self, entry: os.DirEntry[str]) -> bool:
        """Whether this is a symbolic link to a folder, and none back to one that it is in: that would have no end."""
        target, above = os.path.realpath(entry.path), Path(entry.path).parent
        if not Path(target).is_dir():
            return False
        while above != self._root.parent:
            if os.path.realpath(above) == target:
                return False
            above = above.parent
        return True

    def holds_files(self, path: str) -> bool:
        return any(names for _, _, names in os.walk(self._root / path))

    def exists(self, path: str) -> bool:
        return (self._root / path).is_file()

    def open(self, path: str) -> Readable:
        descriptor = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would block
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a file")
        return os.fdopen(descriptor, "rb", buffering=0)

    def original(self, path: str) -> Path:
        return self._root / path
