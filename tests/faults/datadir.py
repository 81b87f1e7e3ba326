"""Looking into a data directory: what the database and the folders must agree on, whatever happened."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from registry.domain import events
from registry.domain.events import CHAIN_START, JournalEvent, verify

_JOURNAL = "SELECT serial, epoch, time, kind, repository, payload, content, chain FROM journal ORDER BY serial"
_TAGS = (
    "SELECT repositories.name, tags.name, tags.digest FROM tags JOIN repositories ON repositories.id = repository_id"
)
_MANIFESTS = (
    "SELECT repositories.name, digest, content FROM manifests JOIN repositories ON repositories.id = repository_id"
)
_NEEDS = (
    "SELECT repositories.name, target FROM manifest_references JOIN repositories ON repositories.id = repository_id"
    " WHERE kind = 'blob'"
)


def _rows(data: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(data / "shoal.db", timeout=30)) as connection:
        return connection.execute(statement).fetchall()


def journal(data: Path) -> list[JournalEvent]:
    """Every event, in order."""
    return [JournalEvent(*row) for row in _rows(data, _JOURNAL)]  # type: ignore[arg-type]


def check_journal(data: Path) -> int:
    """The journal has no gap, its chain holds, and replaying it gives the tags and manifests; its last serial."""
    chain = CHAIN_START
    tags: dict[tuple[str, str], str] = {}
    manifests: dict[tuple[str, str], bytes] = {}
    recorded = journal(data)
    for number, event in enumerate(recorded, 1):
        assert event.serial == number, f"the journal has {event.serial} where {number} should be"
        assert verify(chain, event), f"the chain breaks at {event.serial}"
        chain = event.chain
        payload = json.loads(event.payload)
        if event.kind == events.MANIFEST_PUT:
            manifests[event.repository, payload["digest"]] = event.content
            tags |= {(event.repository, tag): payload["digest"] for tag in payload["tags"]}
        elif event.kind == events.TAG_SET:
            tags[event.repository, payload["tag"]] = payload["digest"]
        elif event.kind == events.TAG_DELETE:
            del tags[event.repository, payload["tag"]]
        elif event.kind == events.MANIFEST_DELETE:
            del manifests[event.repository, payload["digest"]]
            gone = [key for key, digest in tags.items() if (key[0], digest) == (event.repository, payload["digest"])]
            for key in gone:
                del tags[key]
    assert _rows(data, "SELECT serial, chain FROM head") == [(len(recorded), chain)]
    assert {(row[0], row[1]): row[2] for row in _rows(data, _TAGS)} == tags
    assert {(row[0], row[1]): row[2] for row in _rows(data, _MANIFESTS)} == manifests
    return len(recorded)


def check_integrity(data: Path) -> None:
    """SQLite finds nothing wrong with its own file."""
    assert _rows(data, "PRAGMA integrity_check") == [("ok",)]


def manifests(data: Path) -> Iterator[tuple[str, str]]:
    """Repository and digest of every manifest."""
    for repository, digest, _ in _rows(data, _MANIFESTS):
        yield str(repository), str(digest)


def needed_blobs(data: Path) -> set[tuple[str, str]]:
    """Repository and digest of every blob that a manifest needs."""
    return {(str(repository), str(digest)) for repository, digest in _rows(data, _NEEDS)}


def known_blobs(data: Path) -> dict[str, int]:
    """Digest to size, of every blob that has a row."""
    return {str(digest): int(str(size)) for digest, size in _rows(data, "SELECT digest, size FROM blobs")}


def blob_file(data: Path, digest: str) -> Path:
    algorithm, _, name = digest.partition(":")
    return data / "blobs" / algorithm / name[:2] / name


def blob_files(data: Path) -> dict[str, int]:
    """Digest to size, of every file among the blobs."""
    files = (path for path in (data / "blobs").rglob("*") if path.is_file())
    return {f"{path.parent.parent.name}:{path.name}": path.stat().st_size for path in files}


def leftovers(data: Path) -> list[str]:
    """What should not be there once everything was cleared up: files without a row, and uploads."""
    known = known_blobs(data)
    strangers = [digest for digest in blob_files(data) if digest not in known]
    return strangers + sorted(path.name for path in (data / "uploads").iterdir())
