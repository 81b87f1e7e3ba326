"""Passwords in a file of Apache's htpasswd, as the registries before this one had them: bcrypt entries alone.

The other formats of such files (MD5, SHA-1, crypt) are broken by guessing within hours, so they are refused.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import structlog

from registry.auth.identity import Identity
from registry.errors import StartupError, Unavailable

log = structlog.get_logger(__name__)

MOST_BYTES = 4 * 1024**2  # about fifty thousand people
MOST_WAITING = 64
_THREADS = 2  # bcrypt keeps a core busy, and whoever pulls should not wait for those who log in
_MOST_COST = 15  # 2^15 rounds take seconds; nobody should be able to occupy a core for minutes by one guess
_DEFAULT_COST = 10
_COUNTED = 72  # bytes; bcrypt has never looked at more, in any program that reads such files
_SETTLED = 2.0  # seconds; a file may be written twice within one tick of its file system's clock
_ENTRY = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")


class UnusableFileError(Exception):
    """One line that says what is wrong with the file, and never a hash."""


@dataclass(frozen=True, slots=True)
class Entries:
    """What a file says. `nobody` is a hash that no password fits, as costly as the costliest of the file."""

    hashes: dict[str, bytes] = field(repr=False)
    nobody: bytes = field(repr=False)


def parse(text: str, path: str) -> Entries:
    """Read `NAME:HASH` lines; empty lines and those with # are left out. Raises UnusableFileError."""
    hashes: dict[str, bytes] = {}
    highest = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, entry = line.strip().partition(":")
        if not colon or not name:
            raise UnusableFileError(f"{path}:{number}: expected NAME:HASH")
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise UnusableFileError(
                f"{path}:{number}: the entry of {name} is not bcrypt; make one with: htpasswd -B {path} {name}"
            )
        cost = int(match[1])
        if not 4 <= cost <= _MOST_COST:
            raise UnusableFileError(
                f"{path}:{number}: the entry of {name} has a cost of {cost}, expected 4 to {_MOST_COST}; "
                f"make one with: htpasswd -B -C 12 {path} {name}"
            )
        if name in hashes:
            raise UnusableFileError(f"{path}:{number}: {name} is there twice; remove one of the two entries")
        hashes[name] = entry.encode()
        highest = max(highest, cost)
    return Entries(hashes, b"$2b$%02d$" % (highest or _DEFAULT_COST) + b"." * 53)


def fits(entries: Entries, name: str, password: str) -> bool:
    """Whether the password is the one of that name; for a name that is not there it takes as long as for the others."""
    known = entries.hashes.get(name)
    counted = password.encode(errors="surrogatepass")[:_COUNTED]
    # htpasswd and its like end a password at a NUL, so such a one cannot have been meant
    right = bcrypt.checkpw(counted.replace(b"\0", b"?"), known or entries.nobody)
    return right and known is not None and b"\0" not in counted and bool(counted)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A version of the file. `stamp` tells it from others, unless it was too young when it was read (None)."""

    entries: Entries
    stamp: tuple[int, ...] | None


class HtpasswdFile:
    """A PasswordSource that follows its file: who is added or removed counts with the next login."""

    def __init__(self, path: Path) -> None:
        """Reads the file. Raises StartupError where it cannot be used."""
        self._path = path
        try:
            self._seen = self._read()
        except UnusableFileError as error:
            raise StartupError(f"auth.htpasswd: {error}") from None
        self._executor: Executor = ThreadPoolExecutor(_THREADS, "passwords")
        self._waiting = 0

    def __repr__(self) -> str:
        return f"HtpasswdFile({str(self._path)!r})"

    async def check(self, name: str, password: str) -> Identity | None:
        """None where the name is not in the file or the password is wrong; both take as long.

        Raises Unavailable where the file has become unusable, or too many logins wait already.
        """
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many people log in at the same time; try again")
        self._waiting += 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(self._executor, self._fits, name, password)
        except UnusableFileError as error:
            log.error("nobody can log in by the file of passwords", problem=str(error))
            raise Unavailable("the file of passwords cannot be used just now; the log of the server says why") from None
        finally:
            self._waiting -= 1
        return Identity(name) if right else None

    def close(self) -> None:
        """Waits for nobody: what is being checked ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _fits(self, name: str, password: str) -> bool:
        if self._seen.stamp is None or self._seen.stamp != self._stamp():
            # two threads may both read: each of them takes what is there now
            self._seen = self._read()
        return fits(self._seen.entries, name, password)

    def _stamp(self) -> tuple[int, ...]:
        try:
            return _stamp_of(self._path.stat())
        except OSError as error:
            raise UnusableFileError(f"{self._path}: cannot be read: {error.strerror}") from None

    def _read(self) -> _Seen:
        try:
            # O_NONBLOCK: a named pipe would be waited for
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise UnusableFileError(f"{self._path}: is no regular file")
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise UnusableFileError(f"{self._path}: cannot be read: {error.strerror}") from None
        if len(content) > MOST_BYTES:
            raise UnusableFileError(f"{self._path}: has more than {MOST_BYTES // 1024**2} MiB")
        try:
            entries = parse(content.decode(), str(self._path))
        except UnicodeDecodeError:
            raise UnusableFileError(f"{self._path}: is not UTF-8") from None
        settled = time.time() - found.st_mtime > _SETTLED
        return _Seen(entries, _stamp_of(found) if settled else None)


def _stamp_of(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
