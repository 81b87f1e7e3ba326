"""Pulling blobs; Checking if content exists in the registry; Range and conditions (RFC 9110)."""

from __future__ import annotations

import email.parser

import pytest

from tests.harness.client import RegistryClient, error_code
from tests.harness.content import digest_of, random_bytes
from tests.integration.raw import ask

SIZE = 100_000
CONTENT = random_bytes(SIZE)
DIGEST = digest_of(CONTENT)


@pytest.fixture
def path(client: RegistryClient, repo: str) -> str:
    client.push_blob(repo, CONTENT)
    return f"/v2/{repo}/blobs/{DIGEST}"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_get(either: RegistryClient, repo: str, algorithm: str) -> None:
    digest = either.push_blob(repo, CONTENT, algorithm)
    answer = either.request("GET", f"/v2/{repo}/blobs/{digest}", want=200)
    assert answer.content == CONTENT
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_head(either: RegistryClient, repo: str, algorithm: str) -> None:
    digest = either.push_blob(repo, CONTENT, algorithm)
    answer = either.request("HEAD", f"/v2/{repo}/blobs/{digest}", want=200)
    assert answer.content == b""
    assert answer.headers["Docker-Content-Digest"] == digest
    assert answer.headers["Content-Length"] == str(SIZE)


def test_an_empty_blob(client: RegistryClient, repo: str) -> None:
    digest = client.push_blob(repo, b"")
    assert client.blob(repo, digest) == b""
    assert client.request("HEAD", f"/v2/{repo}/blobs/{digest}", want=200).headers["Content-Length"] == "0"
    refused = client.request("GET", f"/v2/{repo}/blobs/{digest}", want=416, headers={"Range": "bytes=0-"})
    assert refused.headers["Content-Range"] == "bytes */0"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_that_is_not_there(client: RegistryClient, repo: str, method: str) -> None:
    client.push_blob(repo, b"another")
    answer = client.request(method, f"/v2/{repo}/blobs/{digest_of(b'never pushed')}", want=404)
    if method == "GET":
        assert error_code(answer) == "BLOB_UNKNOWN"
        assert answer.json()["errors"][0]["detail"] == {"digest": digest_of(b"never pushed")}
    client.request(method, f"/v2/{repo}-unknown/blobs/{DIGEST}", want=404)


def test_a_blob_belongs_to_its_repository(client: RegistryClient, path: str, repo: str) -> None:
    for method in ("GET", "HEAD"):
        client.request(method, path.replace(repo, f"{repo}-other"), want=404)


def test_a_percent_encoded_digest(client: RegistryClient, path: str) -> None:
    for encoded in (path.replace(":", "%3A"), path.replace(":", "%3a")):
        assert ask(client.url, "GET", encoded).body == CONTENT
        assert ask(client.url, "HEAD", encoded).status == 200


class TestRange:
    @pytest.mark.parametrize(
        ("header", "start", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=0-99", 0, 100),
            ("bytes=100-199", 100, 200),
            (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
            ("bytes=5000-", 5000, SIZE),
            ("bytes=0-", 0, SIZE),
            ("bytes=-1", SIZE - 1, SIZE),
            ("bytes=-500", SIZE - 500, SIZE),
            (f"bytes=-{SIZE + 5}", 0, SIZE),
            (f"bytes={SIZE - 10}-{SIZE + 1000}", SIZE - 10, SIZE),
            (f"bytes=10-19,{SIZE}-", 10, 20),
        ],
    )
    def test_one(self, client: RegistryClient, path: str, header: str, start: int, stop: int) -> None:
        answer = client.request("GET", path, want=206, headers={"Range": header})
        assert answer.content == CONTENT[start:stop]
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
        assert answer.headers["Content-Length"] == str(stop - start)
        assert answer.headers["Docker-Content-Digest"] == DIGEST

    @pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
    def test_past_the_end(self, client: RegistryClient, path: str, header: str) -> None:
        answer = client.request("GET", path, want=416, headers={"Range": header})
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
        assert answer.json()["errors"]

    def test_several(self, client: RegistryClient, path: str) -> None:
        wanted = [(0, 10), (500, 501), (SIZE - 5, SIZE)]
        answer = client.request("GET", path, want=206, headers={"Range": "bytes=0-9, 500-500, -5"})
        assert "Content-Range" not in answer.headers
        assert answer.headers["Content-Length"] == str(len(answer.content))
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser().parsebytes(head + answer.content)
        assert message.get_content_type() == "multipart/byteranges"
        parts = message.get_payload()
        assert isinstance(parts, list)
        assert len(parts) == 3
        boundary = message.get_boundary()
        assert boundary is not None
        bodies = answer.content.split(b"\r\n--" + boundary.encode())
        for part, raw, (start, stop) in zip(parts, bodies[1:], wanted, strict=False):
            assert part["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
            assert part["Content-Type"] == "application/octet-stream"
            assert raw.partition(b"\r\n\r\n")[2] == CONTENT[start:stop]
        assert bodies[-1] == b"--\r\n"

    def test_several_that_ask_for_more_than_there_is(self, client: RegistryClient, path: str) -> None:
        header = "bytes=" + ",".join(["0-"] * 20)
        answer = client.request("GET", path, want=(200, 416), headers={"Range": header})
        assert len(answer.content) <= SIZE

    @pytest.mark.parametrize("header", ["items=0-5", "bytes", "nonsense", ""])
    def test_of_another_unit_is_ignored(self, client: RegistryClient, path: str, header: str) -> None:
        assert client.request("GET", path, want=200, headers={"Range": header}).content == CONTENT

    @pytest.mark.parametrize(
        "header", ["bytes=a-b", "bytes=5-1", "bytes=--", "bytes=1-2-3", "bytes=" + "9" * 200 + "-"]
    )
    def test_malformed_ranges_give_the_whole_or_nothing(self, client: RegistryClient, path: str, header: str) -> None:
        answer = client.request("GET", path, want=(200, 416), headers={"Range": header})
        assert answer.status_code == 416 or answer.content == CONTENT

    def test_a_head_says_the_whole_size(self, client: RegistryClient, path: str) -> None:
        answer = client.request("HEAD", path, want=200, headers={"Range": "bytes=0-9"})
        assert answer.headers["Content-Length"] == str(SIZE)

    def test_a_broken_pull_goes_on(self, either: RegistryClient, repo: str) -> None:
        """Use case "Resumable Pull"."""
        either.push_blob(repo, CONTENT)
        path = f"/v2/{repo}/blobs/{DIGEST}"
        received = either.request("GET", path, want=206, headers={"Range": "bytes=0-39999"}).content
        received += either.request("GET", path, want=206, headers={"Range": f"bytes={len(received)}-"}).content
        assert received == CONTENT


class TestConditions:
    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_if_none_match_of_what_the_client_has(
        self, client: RegistryClient, path: str, method: str, form: str
    ) -> None:
        etag = client.request("HEAD", path, want=200).headers["ETag"]
        answer = client.request(method, path, want=304, headers={"If-None-Match": form.format(etag)})
        assert answer.content == b""
        assert answer.headers["ETag"] == etag

    def test_if_none_match_of_something_else(self, client: RegistryClient, path: str) -> None:
        assert client.request("GET", path, want=200, headers={"If-None-Match": '"other"'}).content == CONTENT

    def test_if_none_match_of_a_blob_that_is_not_there(self, client: RegistryClient, path: str, repo: str) -> None:
        absent = path.replace(repo, f"{repo}-other")
        client.request("GET", absent, want=404, headers={"If-None-Match": f'"{DIGEST}"'})

    def test_if_range_of_this_content(self, client: RegistryClient, path: str) -> None:
        etag = client.request("HEAD", path, want=200).headers["ETag"]
        answer = client.request("GET", path, want=206, headers={"Range": "bytes=5-9", "If-Range": etag})
        assert answer.content == CONTENT[5:10]

    @pytest.mark.parametrize("validator", ['"other"', f'W/"{DIGEST}"', "Tue, 15 Nov 1994 12:45:26 GMT"])
    def test_if_range_of_something_else_gives_the_whole(
        self, client: RegistryClient, path: str, validator: str
    ) -> None:
        answer = client.request("GET", path, want=200, headers={"Range": "bytes=5-9", "If-Range": validator})
        assert answer.content == CONTENT
