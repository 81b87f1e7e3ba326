"""Clients that meet: the same session, the same blob, the same tag at the same time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin, urlsplit

from tests.harness.client import RegistryClient, error_code
from tests.harness.content import digest_of, random_bytes, small_image
from tests.harness.process import wait_until
from tests.integration.raw import connect, read_head

CLIENTS = 8
CONTENT = random_bytes(400_000, 11)
DIGEST = digest_of(CONTENT)


def test_a_session_takes_one_request_at_a_time(either: RegistryClient, repo: str) -> None:
    location = either.patch(either.start_upload(repo), CONTENT[:1000])
    with connect(either.url) as slow:
        head = (
            f"PATCH {urlsplit(location).path} HTTP/1.1\r\nHost: registry\r\n"
            "Content-Length: 5000\r\nExpect: 100-continue\r\n\r\n"
        )
        slow.sendall(head.encode())
        assert read_head(slow).startswith(b"HTTP/1.1 100 ")
        slow.sendall(CONTENT[1000:3000])
        refused = either.request("PATCH", location, data=b"x", want=409)
        assert error_code(refused) == "BLOB_UPLOAD_INVALID"
        either.request("DELETE", location, want=409)
        assert either.request("GET", location, want=204).headers["Range"] == "0-999"
        either.request("GET", location.replace(repo, f"{repo}-other"), want=404)
        slow.sendall(CONTENT[3000:6000])
        assert read_head(slow).startswith(b"HTTP/1.1 202 ")
    either.finish_upload(location, DIGEST, CONTENT[6000:])
    assert either.blob(repo, DIGEST) == CONTENT


def test_what_arrived_before_a_client_went_away_is_kept(either: RegistryClient, repo: str) -> None:
    location = either.start_upload(repo)
    with connect(either.url) as connection:
        head = f"PATCH {urlsplit(location).path} HTTP/1.1\r\nHost: registry\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
        connection.sendall(head.encode() + CONTENT[:200_000])
        time.sleep(0.5)  # what the server has not read when the connection breaks is lost with it

    def offset() -> int:
        return int(either.request("GET", location, want=204).headers["Range"].removeprefix("0-")) + 1

    wait_until(lambda: offset() > 1, "the bytes are kept", 10)
    kept = offset()
    assert kept <= 200_000
    either.finish_upload(location, DIGEST, CONTENT[kept:])
    assert either.blob(repo, DIGEST) == CONTENT


def test_many_push_the_same_blob(either: RegistryClient, repo: str) -> None:
    def push(_number: int) -> str:
        with RegistryClient(either.url) as client:
            return client.push_blob(repo, CONTENT)

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert set(pool.map(push, range(3 * CLIENTS))) == {DIGEST}
    assert either.blob(repo, DIGEST) == CONTENT


def test_many_move_the_same_tag(either: RegistryClient, repo: str) -> None:
    """Each sees its own manifest by digest, and at the end the tag names one of them, wherever it is asked."""
    images = [small_image(seed) for seed in range(CLIENTS)]

    def push(number: int) -> None:
        with RegistryClient(either.url) as client:
            for _ in range(5):
                client.push_image(repo, images[number], "latest")
                client.check_image(repo, images[number])

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(push, range(CLIENTS)))
    found = {either.resolve(repo, "latest") for _ in range(10)}
    assert len(found) == 1
    assert found <= {item.digest for item in images}
    assert either.tags(repo) == ["latest"]


def test_a_source_host_in_the_query_is_ignored(client: RegistryClient, repo: str) -> None:
    """Registry Proxying: `ns` may come with every pull."""
    item = small_image()
    client.push_image(repo, item, "latest")
    for path in ("manifests/latest?ns=docker.io", f"blobs/{item.config.digest}?ns=docker.io", "tags/list?ns=docker.io"):
        client.request("GET", urljoin(client.url, f"/v2/{repo}/{path}"), want=200)
