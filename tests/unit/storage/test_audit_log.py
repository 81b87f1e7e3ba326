"""The audit log as files: batches, the chain, files that are full, crashes, and a disk that is."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.domain.audit import AuditEntry
from registry.errors import StartupError, StorageFailure
from registry.storage import audit_log
from registry.storage.audit_log import AuditLog, lines, verify


def entry(number: int, result: str = "done") -> AuditEntry:
    return AuditEntry(1000.0 + number, "ann", "192.0.2.1", "manifest.put", f"/v2/app/manifests/{number}", result)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[AuditLog]:
    made = AuditLog(tmp_path / "audit", lambda: 5000.0, 10**9)
    made.start()
    yield made
    await made.stop()


def told(directory: Path) -> list[dict[str, object]]:
    return [json.loads(text) for _, text in lines(directory)]


async def test_what_is_recorded_is_there_and_follows(log: AuditLog, tmp_path: Path) -> None:
    for number in range(5):
        log.note(entry(number))
    await log.record(entry(5))
    assert [found["target"] for found in told(tmp_path / "audit")] == [f"/v2/app/manifests/{n}" for n in range(6)]
    assert verify(tmp_path / "audit").serial == 6


async def test_the_next_start_goes_on(log: AuditLog, tmp_path: Path) -> None:
    await log.record(entry(1))
    await log.stop()
    again = AuditLog(tmp_path / "audit", lambda: 0.0, 10**9)
    again.start()
    await again.record(entry(2))
    await again.stop()
    assert verify(tmp_path / "audit").serial == 2


@pytest.mark.parametrize("damage", ["changed", "removed", "swapped", "added"])
async def test_damage_is_found(log: AuditLog, tmp_path: Path, damage: str) -> None:
    for number in range(4):
        await log.record(entry(number))
    (path,) = (tmp_path / "audit").iterdir()
    there = path.read_text().splitlines(keepends=True)
    there = {
        "changed": [there[0], there[1].replace("ann", "bob"), *there[2:]],
        "removed": [there[0], *there[2:]],
        "swapped": [there[1], there[0], *there[2:]],
        "added": [*there, there[-1]],
    }[damage]
    path.write_text("".join(there))
    with pytest.raises(ValueError, match=r"ndjson: (line|the line)"):
        verify(tmp_path / "audit")


async def test_a_line_that_a_crash_cut_off_is_taken_away_and_told(log: AuditLog, tmp_path: Path) -> None:
    await log.record(entry(1))
    await log.stop()
    (path,) = (tmp_path / "audit").iterdir()
    with path.open("a") as file:
        file.write('{"serial":2,"who":"a')
    again = AuditLog(tmp_path / "audit", lambda: 0.0, 10**9)
    again.start()
    await again.record(entry(3))
    await again.stop()
    assert [found["what"] for found in told(tmp_path / "audit")] == ["manifest.put", "audit.repair", "manifest.put"]
    assert verify(tmp_path / "audit").serial == 3


async def test_full_files_are_followed_by_others_and_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "_LARGEST_FILE", 1000)
    log = AuditLog(tmp_path / "audit", lambda: 0.0, 4000)
    log.start()
    for number in range(40):
        await log.record(entry(number))
    await log.stop()
    sizes = [path.stat().st_size for path in (tmp_path / "audit").iterdir()]
    assert len(sizes) > 1
    assert sum(sizes) < 6000
    assert verify(tmp_path / "audit").serial == 40


async def test_refusals_that_are_alike_are_counted(log: AuditLog, tmp_path: Path) -> None:
    for _ in range(100):
        log.note(entry(1, "denied"))
    await log.stop()
    assert [found["times"] for found in told(tmp_path / "audit")] == [1, 99]


async def test_a_disk_that_fails_is_told_and_nothing_is_lost(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.record(entry(1))
    with monkeypatch.context() as broken:

        def fail(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        broken.setattr(os, "fdatasync", fail)
        with pytest.raises(StorageFailure):
            await log.record(entry(2))
    await log.record(entry(3))
    assert [found["target"] for found in told(tmp_path / "audit")] == [f"/v2/app/manifests/{n}" for n in (1, 2, 3)]
    verify(tmp_path / "audit")


async def test_a_file_that_was_only_begun_is_no_hindrance(log: AuditLog, tmp_path: Path) -> None:
    """As a disk leaves it that is full just when the next file begins."""
    await log.record(entry(1))
    await log.stop()
    (tmp_path / "audit" / f"{9:012}.ndjson").touch()
    again = AuditLog(tmp_path / "audit", lambda: 0.0, 10**9)
    again.start()
    await again.record(entry(2))
    await again.stop()
    assert verify(tmp_path / "audit").serial == 2


@pytest.mark.parametrize("text", ["{}", "[]", "null", "1", '{"serial":null,"previous":""}'])
def test_what_is_no_line_is_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{1:012}.ndjson").write_text(f"{text}\n")
    with pytest.raises(ValueError, match="no line of an audit log"):
        verify(tmp_path)
    with pytest.raises(StartupError, match="no line of an audit log"):
        AuditLog(tmp_path, lambda: 0.0, 10**9)


async def test_nobody_pushes_out_what_is_written_with_names_that_are_invented(log: AuditLog, tmp_path: Path) -> None:
    for number in range(1000):
        log.note(entry(number, "denied"))
    await log.stop()
    found = told(tmp_path / "audit")
    assert len(found) < 60
    assert sum(int(str(line["times"])) for line in found) == 1000


async def test_tokens_for_nobody_are_counted(log: AuditLog, tmp_path: Path) -> None:
    for who in ("anonymous", "ann"):
        for _ in range(10):
            log.note(AuditEntry(1000.0, who, "192.0.2.1", "token.get", "/auth/token", "done"))
    await log.stop()
    found = told(tmp_path / "audit")
    assert [line["times"] for line in found if line["who"] == "anonymous"] == [1, 9]
    assert sum(line["who"] == "ann" for line in found) == 10
