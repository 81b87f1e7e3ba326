"""The storage of docker-registry on a file system of this machine."""

from __future__ import annotations

import os
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
                return [entry.name for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return []

    def holds_files(self, path: str) -> bool:
        return any(names for _, _, names in os.walk(self._root / path))

    def exists(self, path: str) -> bool:
        return (self._root / path).is_file()

    def open(self, path: str) -> Readable:
        return (self._root / path).open("rb", buffering=0)

    def original(self, path: str) -> Path:
        return self._root / path
