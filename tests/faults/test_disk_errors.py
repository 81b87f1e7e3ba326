"""A disk that answers with errors: each step of a push fails once, and what is promised afterwards holds."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.faults import datadir
from tests.faults.conftest import StartNode
from tests.faults.ledger import Ledger
from tests.faults.node import PATIENT, Node, check_after
from tests.faults.steps import Step, Steps
from tests.faults.workload import Worker
from tests.harness.client import RegistryClient, UnexpectedAnswerError, error_code
from tests.harness.content import digest_of, random_bytes

pytestmark = [pytest.mark.require("gcc"), pytest.mark.timeout(1800)]

FAILING = (Step.WRITE, Step.SYNC, Step.RENAME, Step.UNLINK, Step.TRUNCATE)
ERRORS = (errno.EIO, errno.ENOSPC)
TOLD = {500: "STORAGE_FAILURE", 507: "STORAGE_FULL"}
"""SQLite knows no full disk when it syncs: that is a failure to it."""


@pytest.fixture
def watched(start_node: StartNode, steps_library: Path, tmp_path: Path) -> tuple[Node, Steps]:
    steps = Steps(steps_library, tmp_path / "data")
    return start_node(data=tmp_path / "data", env=steps.environment), steps


def fail_each_step(node: Node, steps: Steps, every: int) -> None:
    """Let each `every`-th step of a small workload fail once, with each error; the server lives on."""
    ledger = Ledger()
    steps.watch(*FAILING)
    Worker(node.url, ledger, "rehearsal", 0, largest=5_000).everything()
    taken = steps.taken
    refused: list[tuple[int, str]] = []
    for error in ERRORS:
        for hit in range(1, len(taken) + 1, every):
            name = f"{errno.errorcode[error].lower()}{hit}"
            steps.watch(*FAILING, hit=hit, error=error)
            try:
                Worker(node.url, ledger, name, hit, largest=5_000).everything()
            except UnexpectedAnswerError as answer:
                refused.append((answer.status, error_code(answer.response)))
            steps.ignore()
            for session in ledger.sessions:  # one that met a failure may have been given up
                session.closing = True
            check_after(node, ledger, f"{name}/")
    assert all(TOLD[status] == code for status, code in refused), refused
    assert len(refused) > len(taken) // every // 2, "most steps matter"
    assert node.process.poll() is None
    check_after(node, ledger)
    datadir.check_integrity(node.data)


def test_some_steps_fail(watched: tuple[Node, Steps]) -> None:
    fail_each_step(*watched, every=17)


@pytest.mark.slow
def test_each_step_fails(watched: tuple[Node, Steps]) -> None:
    fail_each_step(*watched, every=1)


@pytest.mark.parametrize("kind", [Step.SYNC, Step.WRITE, Step.RENAME])
def test_failure_is_told_and_logged(watched: tuple[Node, Steps], kind: Step) -> None:
    """500 with a code, an error in the log, nothing visible; the next push of the same works."""
    node, steps = watched
    content = random_bytes(100_000, 1)
    with RegistryClient(node.url) as client:
        location = client.start_upload("app")
        steps.watch(kind, hit=1, error=errno.EIO)
        answer = client.request("PUT", f"{location}?digest={digest_of(content)}", data=content)
        steps.ignore()
        assert (answer.status_code, error_code(answer)) == (500, "STORAGE_FAILURE")
        assert any(entry["level"] == "error" for entry in node.logged())
        assert not client.has_blob("app", digest_of(content))
        client.push_blob("app", content)
        assert client.blob("app", digest_of(content)) == content


def test_upload_whose_sync_failed_is_over(watched: tuple[Node, Steps]) -> None:
    """After a failed fsync the kernel takes the pages for written: a second fsync would succeed and mean nothing."""
    node, steps = watched
    content = random_bytes(100_000, 2)
    with RegistryClient(node.url) as client:
        location = client.patch(client.start_upload("app"), content)
        steps.watch(Step.SYNC, hit=1, error=errno.EIO)
        client.request("PUT", f"{location}?digest={digest_of(content)}", want=500)
        steps.ignore()
        client.request("PUT", f"{location}?digest={digest_of(content)}", want=404)


def test_reading_fails(watched: tuple[Node, Steps]) -> None:
    """A pull from a disk that cannot be read is cut or refused, and logged; never short and whole-looking."""
    node, steps = watched
    content = random_bytes(3_000_000, 3)
    with RegistryClient(node.url) as client:
        digest = client.push_blob("app", content)
        for hit in (1, 2):
            steps.watch(Step.READ, hit=hit, until=10_000, error=errno.EIO)
            with pytest.raises((UnexpectedAnswerError, OSError)):
                client.blob("app", digest)
            steps.ignore()
        assert any(entry["level"] == "error" for entry in node.logged())
        assert client.blob("app", digest) == content


def test_database_fails_to_commit(watched: tuple[Node, Steps]) -> None:
    """The sync of the commit fails: the change was not made, others go on, the journal has no gap."""
    node, steps = watched
    with RegistryClient(node.url) as client:
        content = random_bytes(1000, 4)
        steps.watch(Step.SYNC, hit=3, error=errno.EIO)  # after those of the file and of its folder
        params = {"digest": digest_of(content)}
        answer = client.request("POST", "/v2/app/blobs/uploads/", params=params, data=content)
        steps.ignore()
        assert (answer.status_code, error_code(answer)) == (500, "STORAGE_FAILURE")
        assert not client.has_blob("app", digest_of(content))
        client.push_blob("app", content)
        assert client.blob("app", digest_of(content)) == content
        datadir.check_journal(node.data)
        node.kill()
        node.start_with(PATIENT)
        assert client.blob("app", digest_of(content)) == content
