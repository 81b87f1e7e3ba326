"""A disk that forgets what was not synced: a file system in memory (FUSE), for tests of power loss.

`python -m tests.faults.volatile_disk MOUNTPOINT` serves it until it is unmounted. Every file has the bytes
that were written and those that were synced, every folder the names that it has and those that were
synced (POSIX promises no more: fsync of a file says nothing of its name). Setting the attribute
`user.sync` of the root syncs everything, as a kernel does from time to time. Setting `user.power` to JSON
{"kind", "seed", "survivors"} cuts the power: what a disk may still have afterwards is written into the
folder `survivors`, and from then on everything fails. The kinds:

- synced: only what was synced survives
- names: every name survives, but of the bytes only those that were synced
- zeros: as names, and what was written and not synced reads as zeros
- some: the first so many changes of names, and of each file the first so many writes
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

os.environ.setdefault("FUSE_LIBRARY_PATH", "libfuse3.so.3")

from mfusepy import FUSE, FuseOSError, Operations  # type: ignore[import-untyped]

_ROOM = 64 * 1024**3
_BLOCK = 4096


@dataclass(eq=False)
class File:
    """`writes` are those since the last sync: offset and bytes, or a new length and None."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)
    mode: int = 0o644
    modified: int = field(default_factory=time.time_ns)

    def write(self, offset: int, data: bytes | None) -> None:
        _apply(self.data, offset, data)
        self.writes.append((offset, data))
        self.modified = time.time_ns()

    def sync(self) -> None:
        self.synced = bytes(self.data)
        self.writes.clear()

    def survivor(self, kind: str, chance: random.Random) -> bytes:
        if kind == "zeros":
            return self.synced[: len(self.data)].ljust(len(self.data), b"\0")
        data = bytearray(self.synced)
        if kind == "some":
            for offset, written in self.writes[: chance.randint(0, len(self.writes))]:
                _apply(data, offset, written)
        return bytes(data)


def _apply(data: bytearray, offset: int, written: bytes | None) -> None:
    if written is None:
        del data[offset:]
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    if written is not None:
        data[offset : offset + len(written)] = written


@dataclass(eq=False)
class Folder:
    """`synced_at` is the number of the last change of names when the folder was synced."""

    names: dict[str, Node] = field(default_factory=dict)
    synced: dict[str, Node] = field(default_factory=dict)
    synced_at: int = 0
    mode: int = 0o755
    modified: int = field(default_factory=time.time_ns)


@dataclass(eq=False)
class Link:
    """A symbolic link."""

    target: str
    mode: int = 0o777
    modified: int = field(default_factory=time.time_ns)


Node = File | Folder | Link
Naming = list[tuple[Folder, str, Node | None]]
"""One change of names, which happens as a whole: a rename is one."""


class VolatileDisk(Operations):  # type: ignore[misc]
    """The file system; one lock around everything."""

    use_ns = True

    def __init__(self) -> None:
        self._root = Folder()
        self._namings: list[Naming] = []
        self._open: dict[int, Node] = {}
        self._handles = itertools.count(1)
        self._lock = threading.RLock()
        self._dead = False

    # Names

    def _find(self, path: str) -> Node:
        if self._dead:
            raise FuseOSError(errno.EIO)
        node: Node = self._root
        for name in PurePosixPath(path).parts[1:]:
            found = node.names.get(name) if isinstance(node, Folder) else None
            if found is None:
                raise FuseOSError(errno.ENOENT)
            node = found
        return node

    def _place(self, path: str) -> tuple[Folder, str]:
        folder = self._find(str(PurePosixPath(path).parent))
        assert isinstance(folder, Folder)
        return folder, PurePosixPath(path).name

    def _change(self, *naming: tuple[Folder, str, Node | None]) -> None:
        self._namings.append(list(naming))
        for folder, name, node in naming:
            _set(folder.names, name, node)
            folder.modified = time.time_ns()

    def _handle(self, node: Node) -> int:
        handle = next(self._handles)
        self._open[handle] = node
        return handle

    def _file(self, path: str | None, handle: int | None) -> File:
        if self._dead:
            raise FuseOSError(errno.EIO)
        node = self._open.get(handle or 0) or self._find(path or "/")
        assert isinstance(node, File)
        return node

    def create(self, path: str, mode: int, _flags: Any = None) -> int:
        with self._lock:
            folder, name = self._place(path)
            node = File(mode=stat.S_IMODE(mode))
            self._change((folder, name, node))
            return self._handle(node)

    def mkdir(self, path: str, mode: int) -> int:
        with self._lock:
            folder, name = self._place(path)
            self._change((folder, name, Folder(mode=stat.S_IMODE(mode))))
            return 0

    def unlink(self, path: str) -> int:
        with self._lock:
            self._find(path)
            self._change((*self._place(path), None))
            return 0

    def rmdir(self, path: str) -> int:
        return self.unlink(path)

    def rename(self, old: str, new: str) -> int:
        with self._lock:
            self._change((*self._place(new), self._find(old)), (*self._place(old), None))
            return 0

    def symlink(self, target: str, source: str) -> int:
        with self._lock:
            self._change((*self._place(target), Link(source)))
            return 0

    def readlink(self, path: str) -> str:
        with self._lock:
            node = self._find(path)
            assert isinstance(node, Link)
            return node.target

    def open(self, path: str, _flags: int) -> int:
        with self._lock:
            return self._handle(self._find(path))

    def opendir(self, path: str) -> int:
        return self.open(path, os.O_RDONLY)

    def readdir(self, path: str, fh: int) -> list[str]:
        with self._lock:
            folder = self._open.get(fh) or self._find(path)
            assert isinstance(folder, Folder)
            return [".", "..", *folder.names]

    def release(self, _path: str, fh: int) -> int:
        with self._lock:
            del self._open[fh]
            return 0

    releasedir = release

    # Bytes

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        with self._lock:
            node = self._open.get(fh or 0) or self._find(path)
            match node:
                case File():
                    kind, size = stat.S_IFREG, len(node.data)
                case Folder():
                    kind, size = stat.S_IFDIR, _BLOCK
                case Link():
                    kind, size = stat.S_IFLNK, len(node.target)
            times = dict.fromkeys(("st_mtime", "st_ctime", "st_atime"), node.modified)
            return {"st_mode": kind | node.mode, "st_nlink": 1, "st_size": size, **times}

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self._lock:
            return bytes(self._file(path, fh).data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        with self._lock:
            self._file(path, fh).write(offset, bytes(data))
            return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        with self._lock:
            self._file(path, fh).write(length, None)
            return 0

    def chmod(self, path: str, mode: int) -> int:
        with self._lock:
            self._find(path).mode = stat.S_IMODE(mode)
            return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        with self._lock:
            self._find(path).modified = times[1] if times else time.time_ns()
            return 0

    def statfs(self, _path: str) -> dict[str, int]:
        blocks = _ROOM // _BLOCK
        return {"f_bsize": _BLOCK, "f_frsize": _BLOCK, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks}

    # Syncing, and the loss of power

    def fsync(self, path: str, _datasync: int, fh: int) -> int:
        with self._lock:
            self._file(path, fh).sync()
            return 0

    def fsyncdir(self, path: str, _datasync: int, fh: int) -> int:
        with self._lock:
            folder = self._open.get(fh) or self._find(path)
            assert isinstance(folder, Folder)
            folder.synced, folder.synced_at = dict(folder.names), len(self._namings)
            return 0

    def getxattr(self, _path: str, _name: str, _position: int = 0) -> bytes:
        raise FuseOSError(errno.ENODATA)

    def setxattr(self, _path: str, name: str, value: bytes, _options: int, _position: int = 0) -> int:
        with self._lock:
            if name == "user.sync":
                self._sync_all()
                return 0
            if name != "user.power":
                raise FuseOSError(errno.ENOTSUP)
            cut = json.loads(value)
            self._dead = True
            chance = random.Random(cut["seed"])  # noqa: S311 - no secret
            self._write_out(Path(cut["survivors"]), cut["kind"], chance)
            return 0

    def _sync_all(self) -> None:
        for folder in self._folders():
            folder.synced, folder.synced_at = dict(folder.names), len(self._namings)
            for node in folder.names.values():
                if isinstance(node, File):
                    node.sync()

    def _write_out(self, target: Path, kind: str, chance: random.Random) -> None:
        last = {"synced": 0, "some": chance.randint(0, len(self._namings))}.get(kind, len(self._namings))
        names = {folder: dict(folder.synced) for folder in self._folders()}
        for number, naming in enumerate(self._namings[:last], 1):
            for folder, name, node in naming:
                if number > folder.synced_at:
                    _set(names.setdefault(folder, {}), name, node)
        waiting: list[tuple[Path, Node]] = [(target, self._root)]
        while waiting:
            path, node = waiting.pop()
            if isinstance(node, Folder):
                path.mkdir()
                waiting += [(path / name, child) for name, child in names.get(node, {}).items()]
            elif isinstance(node, Link):
                path.symlink_to(node.target)
            else:
                path.write_bytes(node.survivor(kind, chance))

    def _folders(self) -> Iterator[Folder]:
        yield self._root
        for naming in self._namings:
            yield from (node for _, _, node in naming if isinstance(node, Folder))


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


if __name__ == "__main__":
    FUSE(VolatileDisk(), sys.argv[1], foreground=True, hard_remove=True, fsname="volatile")
