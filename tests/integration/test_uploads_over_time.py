"""Upload sessions that outlive a worker, a restart, a slow client; and those that do not outlive a silent one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartShoal
from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, random_bytes, small_image
from tests.harness.process import wait_until
from tests.harness.server import ShoalServer

CONTENT = random_bytes(3_000_000, 5)


def staged(server: ShoalServer) -> list[Path]:
    """The files of all sessions."""
    return list((server.data / "uploads").iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_offset_is_kept_over_a_restart(shoal: ShoalServer, end: str, algorithm: str) -> None:
    digest = digest_of(CONTENT, algorithm)
    with RegistryClient(shoal.url) as client:
        location = client.start_upload("repo", **{"digest-algorithm": algorithm})
        for start in range(0, 2_000_000, 1_000_000):
            chunk = CONTENT[start : start + 1_000_000]
            location = client.patch(location, chunk, **{"Content-Range": f"{start}-{start + len(chunk) - 1}"})
            getattr(shoal, end)()
            shoal.restart()
            answer = client.request("GET", location, want=204)
            assert answer.headers["Range"] == f"0-{start + 999_999}"
        client.finish_upload(location, digest, CONTENT[2_000_000:])
        assert client.blob("repo", digest) == CONTENT
    assert staged(shoal) == []


def test_every_chunk_may_meet_another_worker(two_workers: ShoalServer, repo: str) -> None:
    size = 100_000
    digest = digest_of(CONTENT)
    with RegistryClient(two_workers.url) as opener:
        location = opener.start_upload(repo)
    for start in range(0, len(CONTENT), size):
        with RegistryClient(two_workers.url) as client:
            last = min(start + size, len(CONTENT)) - 1
            location = client.patch(location, CONTENT[start : last + 1], **{"Content-Range": f"{start}-{last}"})
    with RegistryClient(two_workers.url) as client:
        client.finish_upload(location, digest)
        assert client.blob(repo, digest) == CONTENT


def test_the_offset_is_kept_when_a_worker_dies(start_shoal: StartShoal) -> None:
    server = start_shoal(workers=2)
    digest = digest_of(CONTENT)
    with RegistryClient(server.url) as client:
        client.session.headers["Connection"] = "close"
        location = client.patch(client.start_upload("repo"), CONTENT[:1_000_000])
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert len(children) == 2
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        server.wait_ready()
        assert client.request("GET", location, want=204).headers["Range"] == "0-999999"
        client.finish_upload(location, digest, CONTENT[1_000_000:])
        assert client.blob("repo", digest) == CONTENT


def test_a_session_lives_as_long_as_its_client_sends_and_some_time_more(start_shoal: StartShoal) -> None:
    expire_after = 1.0
    server = start_shoal(
        settings={"uploads": {"expire_after": expire_after}, "collect": {"interval": 0.1, "grace": 0.5}}
    )
    content = CONTENT[:60]
    pieces: list[float] = []

    def slow() -> Iterator[bytes]:
        for start in range(0, len(content), 2):
            time.sleep(0.1)
            pieces.append(time.monotonic())
            yield content[start : start + 2]

    with RegistryClient(server.url) as client:
        lost = client.start_upload("lost")
        client.patch(lost, b"never finished")
        location = client.patch(client.start_upload("repo"), slow())
        assert pieces[-1] - pieces[0] > 2 * expire_after
        client.request("GET", lost, want=404)
        client.finish_upload(location, digest_of(content))
        wait_until(lambda: not staged(server), "all sessions are cleared up", 10)
        client.push_blob("repo", b"unneeded")
        client.push_image("repo", small_image(), "latest")
        wait_until(lambda: not blob_file(server, b"unneeded").exists(), "what nobody needs is gone", 10)
        assert not client.has_blob("repo", digest_of(b"unneeded"))
        client.check_image("repo", small_image(), "latest")
    assert not server.complaints()


def blob_file(server: ShoalServer, content: bytes) -> Path:
    hexadecimal = digest_of(content).partition(":")[2]
    return server.data / "blobs" / "sha256" / hexadecimal[:2] / hexadecimal


def test_a_failed_push_at_once_leaves_no_file(shoal: ShoalServer) -> None:
    with RegistryClient(shoal.url) as client:
        client.request("POST", f"/v2/repo/blobs/uploads/?digest={digest_of(b'other')}", data=CONTENT, want=400)
        assert staged(shoal) == []
        client.request("DELETE", client.patch(client.start_upload("repo"), CONTENT), want=204)
        assert staged(shoal) == []
