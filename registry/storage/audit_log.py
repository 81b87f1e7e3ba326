"""The audit log as files: DATA/audit/NUMBER.ndjson, one line an entry, the numbers in order.

Lines are written and synced in batches by one thread of the node. A line that a crash cut in two is the last one of its
file; the next start takes it away, and says so in a line of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog

from registry.domain.audit import AuditEntry, Position, Repetitions, follow, line, may_be_counted
from registry.domain.clock import Clock
from registry.errors import StartupError, StorageFailure
from registry.storage import files

log = structlog.get_logger(__name__)

_LARGEST_FILE = 64 * 1024 * 1024
_MOST_WAITING = 20_000
_REST = 0.05  # seconds between two batches
_REST_AFTER_FAILURE = 1.0  # seconds: a full disk is not helped by trying at once, nor by a line of the log each time
_WAKES_AFTER = 5.0  # seconds


def files_of(directory: Path) -> list[Path]:
    """The files of a log in order."""
    return sorted(directory.glob("*.ndjson"))


def lines(directory: Path) -> Iterator[tuple[Path, str]]:
    """Every whole line with its file; the rest of a line that a crash cut in two comes without its end."""
    for path in files_of(directory):
        with path.open(encoding="utf-8", errors="replace", newline="\n") as text:
            for found in text:
                yield path, found


def verify(directory: Path) -> Position:
    """The end of the chain. Raises ValueError, which names the file and what is wrong in it."""
    position: Position | None = None
    for path, text in lines(directory):
        try:
            if not text.endswith("\n"):
                raise ValueError("the last line was cut off")
            if position is None:
                position = _beginning(text)
            position = follow(position, text.removesuffix("\n"))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
    return position or Position()


def _beginning(text: str) -> Position:
    """What the first line that is left follows on: older files may have been removed."""
    try:
        fields = json.loads(text)
        return Position(int(fields["serial"]) - 1, str(fields["previous"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("no line of an audit log") from error


class AuditLog:
    """Appends. `keep`: bytes of the whole log; the oldest file goes when there are more."""

    def __init__(self, directory: Path, clock: Clock, keep: int) -> None:
        """Raises StartupError."""
        self._directory = directory
        self._clock = clock
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, "audit")
        self._waiting: list[AuditEntry] = []
        self._dropped = 0
        self._repetitions = Repetitions()
        self._durable: asyncio.Future[bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            self._path, self._position, cut = _last(directory)
        except (OSError, ValueError) as error:
            raise StartupError(f"the audit log in {directory} cannot be used: {error}") from error
        if cut:
            self.note(AuditEntry(clock(), "operator", "", "audit.repair", "a line that a crash cut off", "done"))

    def start(self) -> None:
        self._task = asyncio.create_task(self._write_batches())

    async def stop(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        await self._write(everything=True)
        self._thread.shutdown()

    def note(self, entry: AuditEntry) -> None:
        """Soon; what may be counted is told once of many that are alike."""
        found = self._repetitions.take(entry) if may_be_counted(entry) else entry
        if found is None:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(found)
        self._wake.set()

    async def record(self, entry: AuditEntry) -> None:
        """Returns once the entry is durable. Raises StorageFailure."""
        self.note(entry)
        if not self._waiting:  # one more refusal like the one before, which is counted
            return
        if self._durable is None:
            self._durable = asyncio.get_running_loop().create_future()
        if not await asyncio.shield(self._durable):
            raise StorageFailure("the audit log cannot be written: what was asked is done, but not written down")

    async def _write_batches(self) -> None:
        while True:
            with suppress(TimeoutError):  # repetitions are due though nothing else happens
                async with asyncio.timeout(_WAKES_AFTER):
                    await self._wake.wait()
            self._wake.clear()
            succeeded = await self._write()
            await asyncio.sleep(_REST if succeeded else _REST_AFTER_FAILURE)

    async def _write(self, *, everything: bool = False) -> bool:
        """Write all that waits, wake those who wait for it, and say whether it could be written."""
        now = self._clock()
        due = list(self._repetitions.due(now, everything=everything))
        room = max(0, _MOST_WAITING - len(self._waiting))  # what a full disk holds up must not fill the memory
        self._waiting += due[:room]
        self._dropped += len(due) - len(due[:room])
        if self._dropped and room > len(due):
            missing = f"{self._dropped} entries that came too fast"
            self._waiting.append(AuditEntry(now, "operator", "", "audit.drop", missing, "done"))
            self._dropped = 0
        entries, self._waiting = self._waiting, []
        durable, self._durable = self._durable, None
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._append, entries)
        except OSError as error:  # a full disk: what could not be told is told later
            log.error("the audit log cannot be written", error=str(error))
            self._waiting = entries + self._waiting
            self._wake.set()
            succeeded = False
        else:
            succeeded = True
        if durable is not None and not durable.done():
            durable.set_result(succeeded)
        return succeeded

    def _append(self, entries: list[AuditEntry]) -> None:
        position, text = self._position, []
        for entry in entries:
            written, chain = line(entry, position.serial + 1, position.chain)
            position = Position(position.serial + 1, chain)
            text.append(f"{written}\n")
        if not text:
            return
        if self._path.exists() and self._path.stat().st_size > _LARGEST_FILE:
            self._path = self._directory / f"{position.serial:012}.ndjson"
            self._remove_oldest()
        before = self._path.stat().st_size if self._path.exists() else 0
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            files.write_all(descriptor, ["".join(text).encode()])
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)
        self._position = position

    def _remove_oldest(self) -> None:
        there = files_of(self._directory)
        total = sum(path.stat().st_size for path in there)
        for path in there:
            if total <= self._keep:
                break
            total -= path.stat().st_size
            path.unlink()


def _last(directory: Path) -> tuple[Path, Position, bool]:
    """The file to go on with, where its chain ends, and whether a line that was cut off had to be taken away."""
    was_cut = False
    for path in reversed(files_of(directory)):
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
            was_cut = True
        if texts := whole.decode(errors="replace").splitlines():
            return path, follow(_beginning(texts[-1]), texts[-1]), was_cut
        path.unlink()  # a full disk or a crash left it, just as it was begun
    return directory / f"{1:012}.ndjson", Position(), was_cut
