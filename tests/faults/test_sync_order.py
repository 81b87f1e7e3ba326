"""Durable before acknowledged: the order of the calls to the kernel that one push makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import tracing
from tests.faults.conftest import StartNode
from tests.faults.tracing import SystemCall
from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, random_bytes, small_image
from tests.harness.process import wait_until

pytestmark = pytest.mark.require("strace")

CALLS = (
    "write", "writev", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "sendto", "sendmsg",
)  # fmt: skip
SYNCS = ("fsync", "fdatasync")
WRITES = ("write", "writev", "pwrite64")


def on(names: tuple[str, ...], *words: str) -> Callable[[SystemCall], bool]:
    return lambda call: call.name in names and all(word in call.arguments for word in words)


def answer(status: int) -> Callable[[SystemCall], bool]:
    return on(("sendto", "sendmsg"), f'"HTTP/1.1 {status}')


@pytest.fixture(params=[1, 2])
def trace(
    request: pytest.FixtureRequest, start_node: StartNode, tmp_path: Path
) -> Callable[[Callable[[RegistryClient], None]], list[SystemCall]]:
    """Runs a server under strace, does what it is told with a client, and gives the calls of that time."""
    output = tmp_path / "trace"
    node = start_node(prefix=tracing.prefix(output, CALLS), workers=request.param)

    def run(work: Callable[[RegistryClient], None]) -> list[SystemCall]:
        with RegistryClient(node.url) as client:
            client.request("GET", "/v2/", want=200)
            work(client)
        wait_until(lambda: "HTTP/1.1 201" in output.read_text(errors="replace"), "the answer is in the trace")
        node.stop()
        calls = tracing.read(output)
        first = tracing.find(calls, "first answer", on(("sendto", "sendmsg"), '"HTTP/1.1 200', "application/json"))
        return [call for call in calls if call.begun > first.begun]

    return run


Trace = Callable[[Callable[[RegistryClient], None]], list[SystemCall]]


def test_blob_is_durable_before_it_is_acknowledged(trace: Trace) -> None:
    content = random_bytes(3_000_000, 1)
    digest = digest_of(content)

    def push(client: RegistryClient) -> None:
        client.finish_upload(client.patch(client.start_upload("app"), content[:1000]), digest, content[1000:])

    calls = trace(push)
    acknowledged = tracing.find(calls, "answer 201", answer(201))
    moved = tracing.find(calls, "rename to the blob", on(("rename", "renameat", "renameat2"), f"{digest[7:]}"))
    writes = [call for call in calls if on(WRITES, ".data>")(call)]
    assert writes
    assert sum(call.result for call in writes) == len(content)
    synced = tracing.find(calls, "fsync of the data", on(SYNCS, ".data>"), max(call.ended for call in writes))
    assert synced.ended < moved.begun, "the bytes have to be durable before they get the blob's name"
    named = tracing.find(calls, "fsync of the folder", on(SYNCS, f"/blobs/sha256/{digest[7:9]}>"), moved.ended)
    row = tracing.find(calls, "write of the row", on(WRITES, "shoal.db-wal>"), named.ended)
    earlier = [call for call in calls if on(WRITES, "shoal.db-wal>")(call) and call.begun < named.ended]
    assert not earlier, "the row may not be written before the blob is in its place"
    committed = tracing.find(calls, "fsync of the commit", on(SYNCS, "shoal.db-wal>"), row.ended)
    last = max(call.ended for call in calls if on(WRITES, "shoal.db-wal>")(call) and call.begun < acknowledged.begun)
    committed = tracing.find(calls, "fsync after the whole commit", on(SYNCS, "shoal.db-wal>"), last)
    assert committed.result == 0
    assert committed.ended < acknowledged.begun, "the row has to be durable before the client hears of it"


def test_manifest_is_durable_before_it_is_acknowledged(trace: Trace) -> None:
    made = small_image(3)

    def push(client: RegistryClient) -> None:
        for blob in made.blobs:
            client.push_blob("app", blob.content)
        client.request("GET", "/v2/app/tags/list", want=200)
        client.push_manifest("app", "latest", made.manifest)

    calls = trace(push)
    before = tracing.find(calls, "answer before the manifest", answer(200))
    acknowledged = tracing.find(calls, "answer 201", answer(201), before.ended)
    writes = [call for call in calls if on(WRITES, "shoal.db-wal>")(call)]
    last = max(call.ended for call in writes if before.ended < call.begun < acknowledged.begun)
    committed = tracing.find(calls, "fsync after the commit", on(SYNCS, "shoal.db-wal>"), last)
    assert committed.ended < acknowledged.begun, "the commit has to be durable before the client hears of it"


def test_finishing_copies_nothing(trace: Trace) -> None:
    """The closing PUT of an upload that has all its bytes writes no data, however many there are."""
    content = random_bytes(5_000_000, 2)

    def push(client: RegistryClient) -> None:
        location = client.patch(client.start_upload("app"), content)
        client.request("GET", "/v2/", want=200)
        client.finish_upload(location, digest_of(content))

    calls = trace(push)
    before = tracing.find(calls, "answer before the closing PUT", answer(200))
    files = [call for call in calls if call.begun > before.ended and on(WRITES, "/uploads/")(call)]
    assert sum(call.result for call in files) < 2000
    assert not [call for call in files if ".data>" in call.arguments]
