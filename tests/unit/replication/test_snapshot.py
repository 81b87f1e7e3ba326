"""What a slave makes of a snapshot whose lines cannot be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import pytest

from registry.domain.changes import Change, KeepSnapshot, Outcome
from registry.domain.events import JournalEvent
from registry.domain.replica import Orders, Pending, Report, Transfer, Upstream
from registry.ports.replication import Waiting
from replication import wire
from replication.client import UpstreamClient, UpstreamError
from replication.snapshot import SnapshotTaker

HELLO = wire.Hello(1, "test", wire.Position(7, 1, "00" * 32))


class Empty:
    """ReplicaReader of a slave that has nothing, and Changes that keep what is submitted."""

    def __init__(self) -> None:
        self.kept: list[KeepSnapshot] = []

    async def submit(self, change: Change) -> Outcome:
        assert isinstance(change, KeepSnapshot)
        self.kept.append(change)
        return Outcome()

    async def upstream(self) -> Upstream | None:
        return None

    async def pending_repositories(self) -> list[str]:
        return []

    async def pending(self, repository: str, after: int, limit: int) -> list[Pending]:
        return []

    async def log_event(self, serial: int) -> JournalEvent | None:
        return None

    async def log_events(self, after: int, limit: int) -> list[JournalEvent]:
        return []

    async def waiting_repositories(self, limit: int) -> tuple[Sequence[tuple[str, int]], int]:
        return [], 0

    async def orders(self) -> Orders:
        return Orders()

    async def report(self) -> Report:
        return Report()

    async def waiting(self) -> Waiting:
        return Waiting(0, 0)

    async def transfer(self, digest: str) -> Transfer | None:
        return None

    async def known_manifests(self, repository: str) -> list[str]:
        return []

    async def repositories(self, after: str, limit: int) -> list[str]:
        return []

    async def tags(self, repository: str, after: str, limit: int) -> list[str]:
        return []


class Says(UpstreamClient):
    """Sends these lines."""

    def __init__(self, *lines: wire.Line) -> None:
        super().__init__("http://127.0.0.1:1")
        self._said = lines

    async def snapshot(self, after: str, cursor: str = "") -> AsyncGenerator[wire.Line]:
        for line in self._said:
            yield line


async def test_a_snapshot_that_breaks_off_is_kept_so_far() -> None:
    slave = Empty()
    tag = wire.Tag("team/app", "v1", "sha256:00")
    with pytest.raises(UpstreamError, match="broke off"):
        await SnapshotTaker(Says(HELLO, tag, wire.RepositoryEnd("team/app")), slave, slave).take(None)
    assert [(len(part.pending), part.upstream.after) for part in slave.kept] == [(0, ""), (1, "team/app")]
    assert slave.kept[-1].upstream.serial == 7


@pytest.mark.parametrize("content", ["%%%", "YQ", "é"])
async def test_content_that_is_no_base64_ends_the_snapshot_and_nothing_else(content: str) -> None:
    slave = Empty()
    manifest = wire.Manifest("team/app", "sha256:00", "application/x", content)
    with pytest.raises(UpstreamError, match="cannot be read"):
        await SnapshotTaker(Says(HELLO, manifest), slave, slave).take(None)
