"""Pushing blobs: monolithically, in chunks, by mount; cancel and status."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from tests.harness.client import RegistryClient, error_code
from tests.harness.content import digest_of, random_bytes
from tests.integration.raw import ask, connect, read_head

CONTENT = random_bytes(300_000, 3)
DIGEST = digest_of(CONTENT)
OCTETS = {"Content-Type": "application/octet-stream"}


def check_created(client: RegistryClient, answer: requests.Response, digest: str = DIGEST) -> None:
    """201 with a pullable Location."""
    assert answer.status_code == 201, answer.text
    assert answer.headers["Docker-Content-Digest"] == digest
    pulled = client.request("GET", urljoin(client.url, answer.headers["Location"]), want=200)
    assert digest_of(pulled.content, digest.partition(":")[0]) == digest


def offset(client: RegistryClient, location: str) -> int:
    """The number of bytes that the registry says it has (0-0 stands for none and for one)."""
    answer = client.request("GET", location, want=204)
    start, _, end = answer.headers["Range"].partition("-")
    assert start == "0"
    assert answer.headers["Location"]
    return int(end) + 1


class TestPostThenPut:
    @pytest.mark.parametrize("content", [CONTENT, b"x", b""])
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_a_blob(self, either: RegistryClient, repo: str, content: bytes, algorithm: str) -> None:
        digest = digest_of(content, algorithm)
        started = either.request("POST", f"/v2/{repo}/blobs/uploads/", want=202)
        location = urljoin(either.url, started.headers["Location"])
        upload_id = urlsplit(location).path.rpartition("/")[2]
        assert str(uuid.UUID(upload_id)) == upload_id
        assert int(started.headers["OCI-Chunk-Min-Length"]) > 0
        assert started.headers["Range"] == "0-0"
        check_created(either, either.finish_upload(location, digest, content), digest)
        assert either.blob(repo, digest) == content

    def test_digest_algorithm(self, either: RegistryClient, repo: str) -> None:
        digest = digest_of(CONTENT, "sha512")
        location = either.start_upload(repo, **{"digest-algorithm": "sha512"})
        check_created(either, either.finish_upload(location, digest, CONTENT), digest)

    @pytest.mark.parametrize("announced", ["sha256", "sha512"])
    def test_the_closing_digest_may_be_of_another_algorithm(
        self, client: RegistryClient, repo: str, announced: str
    ) -> None:
        other = {"sha256": "sha512", "sha512": "sha256"}[announced]
        location = client.start_upload(repo, **{"digest-algorithm": announced})
        location = client.patch(location, CONTENT[:1000])
        digest = digest_of(CONTENT, other)
        check_created(client, client.finish_upload(location, digest, CONTENT[1000:]), digest)

    @pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "", "sha384"])
    def test_an_unsupported_digest_algorithm(self, client: RegistryClient, repo: str, algorithm: str) -> None:
        answer = client.request("POST", f"/v2/{repo}/blobs/uploads/?digest-algorithm={algorithm}", want=400)
        assert error_code(answer) == "DIGEST_INVALID"

    @pytest.mark.parametrize(
        "digest", ["", "sha256:", "sha256:zz", "md5:" + "0" * 32, "nonsense", DIGEST.upper(), DIGEST + "0"]
    )
    def test_a_digest_that_is_none(self, client: RegistryClient, repo: str, digest: str) -> None:
        location = client.start_upload(repo)
        answer = client.request("PUT", location, params={"digest": digest}, data=CONTENT, headers=OCTETS, want=400)
        assert error_code(answer) == "DIGEST_INVALID"
        check_created(client, client.finish_upload(location, DIGEST, CONTENT))

    def test_no_digest(self, client: RegistryClient, repo: str) -> None:
        answer = client.request("PUT", client.start_upload(repo), data=CONTENT, headers=OCTETS, want=400)
        assert error_code(answer) == "DIGEST_INVALID"

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_a_wrong_digest_and_nothing_appears(self, either: RegistryClient, repo: str, algorithm: str) -> None:
        wrong, right = digest_of(b"something else", algorithm), digest_of(CONTENT, algorithm)
        location = either.start_upload(repo)
        answer = either.request("PUT", location, params={"digest": wrong}, data=CONTENT, headers=OCTETS, want=400)
        assert error_code(answer) == "DIGEST_INVALID"
        assert not either.has_blob(repo, wrong)
        assert not either.has_blob(repo, right)
        check_created(either, either.finish_upload(location, right, CONTENT), right)

    def test_again_under_the_same_digest(self, either: RegistryClient, repo: str) -> None:
        for _ in range(2):
            check_created(either, either.finish_upload(either.start_upload(repo), DIGEST, CONTENT))

    def test_without_the_slash_at_the_end(self, client: RegistryClient, repo: str) -> None:
        answer = client.request("POST", f"/v2/{repo}/blobs/uploads", want=202)
        check_created(client, client.finish_upload(urljoin(client.url, answer.headers["Location"]), DIGEST, CONTENT))

    def test_a_session_is_over_once_closed(self, either: RegistryClient, repo: str) -> None:
        location = either.start_upload(repo)
        either.finish_upload(location, DIGEST, CONTENT)
        for method in ("GET", "PATCH", "DELETE"):
            answer = either.request(method, location, data=b"x" if method == "PATCH" else None, want=404)
            assert error_code(answer) == "BLOB_UPLOAD_UNKNOWN"


class TestSinglePost:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    @pytest.mark.parametrize("content", [CONTENT, b"x", b""])
    def test_a_blob(self, either: RegistryClient, repo: str, content: bytes, algorithm: str) -> None:
        digest = digest_of(content, algorithm)
        answer = either.request(
            "POST", f"/v2/{repo}/blobs/uploads/", params={"digest": digest}, data=content, headers=OCTETS
        )
        check_created(either, answer, digest)

    def test_a_wrong_digest(self, client: RegistryClient, repo: str) -> None:
        wrong = digest_of(b"something else")
        answer = client.request(
            "POST", f"/v2/{repo}/blobs/uploads/", params={"digest": wrong}, data=CONTENT, headers=OCTETS, want=400
        )
        assert error_code(answer) == "DIGEST_INVALID"
        assert not client.has_blob(repo, wrong)
        assert not client.has_blob(repo, DIGEST)

    def test_a_bad_digest(self, client: RegistryClient, repo: str) -> None:
        answer = client.request("POST", f"/v2/{repo}/blobs/uploads/?digest=sha256:1", data=CONTENT, want=400)
        assert error_code(answer) == "DIGEST_INVALID"

    def test_without_a_body_a_session_begins(self, client: RegistryClient, repo: str) -> None:
        answer = client.request("POST", f"/v2/{repo}/blobs/uploads/", params={"digest": DIGEST}, want=202)
        check_created(client, client.finish_upload(urljoin(client.url, answer.headers["Location"]), DIGEST, CONTENT))

    def test_streamed_without_a_length(self, client: RegistryClient, repo: str) -> None:
        answer = client.request("POST", f"/v2/{repo}/blobs/uploads/?digest={DIGEST}", data=iter([CONTENT, b""][:1]))
        check_created(client, answer)


class TestInChunks:
    @pytest.mark.parametrize("last_by", ["PATCH", "PUT"])
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_with_content_range(self, either: RegistryClient, repo: str, last_by: str, algorithm: str) -> None:
        params = {} if algorithm == "sha256" else {"digest-algorithm": algorithm}
        location = either.start_upload(repo, **params)
        digest = digest_of(CONTENT, algorithm)
        cuts = [0, 100_000, 100_001, 250_000, len(CONTENT)]
        for start, stop in pairwise(cuts):
            chunk, header = CONTENT[start:stop], {**OCTETS, "Content-Range": f"{start}-{stop - 1}"}
            if stop == len(CONTENT) and last_by == "PUT":
                done = either.request("PUT", location, params={"digest": digest}, data=chunk, headers=header)
                break
            answer = either.request("PATCH", location, data=chunk, headers=header, want=202)
            assert answer.headers["Range"] == f"0-{stop - 1}"
            location = urljoin(either.url, answer.headers["Location"])
            assert offset(either, location) == stop
        else:
            done = either.finish_upload(location, digest)
        check_created(either, done, digest)

    def test_without_content_range(self, client: RegistryClient, repo: str) -> None:
        location = client.start_upload(repo)
        for start in range(0, len(CONTENT), 70_000):
            location = client.patch(location, CONTENT[start : start + 70_000])
        check_created(client, client.finish_upload(location, DIGEST))

    def test_streamed_without_a_length(self, either: RegistryClient, repo: str) -> None:
        def pieces() -> Iterator[bytes]:
            for start in range(0, len(CONTENT), 7777):
                yield CONTENT[start : start + 7777]

        answer = either.request("PATCH", either.start_upload(repo), data=pieces(), headers=OCTETS, want=202)
        assert answer.headers["Range"] == f"0-{len(CONTENT) - 1}"
        check_created(either, either.finish_upload(urljoin(either.url, answer.headers["Location"]), DIGEST))

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    @pytest.mark.parametrize("content_range", ["0-9999", "9999-19998", "10001-20000", "299000-299999", "10000-9999"])
    def test_out_of_order_is_416_and_the_session_survives(
        self, client: RegistryClient, repo: str, method: str, content_range: str
    ) -> None:
        location = client.patch(client.start_upload(repo), CONTENT[:10_000], **{"Content-Range": "0-9999"})
        start, _, stop = content_range.partition("-")
        chunk = CONTENT[int(start) : int(stop) + 1]
        headers = {**OCTETS, "Content-Range": content_range, "Content-Length": str(max(len(chunk), 1))}
        params = {"digest": DIGEST} if method == "PUT" else None
        answer = client.request(method, location, params=params, data=chunk or b"x", headers=headers, want=416)
        assert error_code(answer) == "BLOB_UPLOAD_INVALID"
        assert offset(client, location) == 10_000
        location = client.patch(location, CONTENT[10_000:], **{"Content-Range": f"10000-{len(CONTENT) - 1}"})
        check_created(client, client.finish_upload(location, DIGEST))

    def test_the_first_chunk_begins_at_0(self, client: RegistryClient, repo: str) -> None:
        headers = {**OCTETS, "Content-Range": "1-10"}
        client.request("PATCH", client.start_upload(repo), data=b"0123456789", headers=headers, want=416)

    @pytest.mark.parametrize("content_range", ["", "nonsense", "0", "-5", "5-", "bytes */5", "0-4,6-7"])
    def test_a_content_range_that_is_none(self, client: RegistryClient, repo: str, content_range: str) -> None:
        location = client.start_upload(repo)
        headers = {**OCTETS, "Content-Range": content_range}
        answer = client.request("PATCH", location, data=b"01234", headers=headers, want=(400, 416))
        assert answer.json()["errors"]
        check_created(client, client.finish_upload(location, DIGEST, CONTENT))

    @pytest.mark.parametrize("content_range", ["0-3", "0-5"])
    @pytest.mark.parametrize("streamed", [False, True])
    def test_a_length_that_contradicts_the_range(
        self, client: RegistryClient, repo: str, content_range: str, streamed: bool
    ) -> None:
        location = client.start_upload(repo)
        data = iter([b"01234"]) if streamed else b"01234"
        headers = {**OCTETS, "Content-Range": content_range}
        answer = client.request("PATCH", location, data=data, headers=headers, want=400)
        assert error_code(answer) == "SIZE_INVALID"
        check_created(client, client.finish_upload(location, DIGEST, CONTENT))

    def test_a_closing_put_with_no_chunk_after_none(self, client: RegistryClient, repo: str) -> None:
        check_created(client, client.finish_upload(client.start_upload(repo), digest_of(b"")), digest_of(b""))

    def test_an_empty_chunk(self, client: RegistryClient, repo: str) -> None:
        location = client.patch(client.patch(client.start_upload(repo), CONTENT), b"")
        check_created(client, client.finish_upload(location, DIGEST))

    def test_the_status_of_a_new_session(self, client: RegistryClient, repo: str) -> None:
        location = client.start_upload(repo)
        for method in ("GET", "HEAD"):
            answer = client.request(method, location, want=204)
            assert answer.headers["Range"] == "0-0"
            assert urljoin(client.url, answer.headers["Location"]) == location

    def test_the_upload_of_another_repository(self, client: RegistryClient, repo: str) -> None:
        location = client.start_upload(repo)
        stolen = location.replace(repo, f"{repo}-other")
        for method in ("GET", "PATCH", "DELETE"):
            client.request(method, stolen, data=b"x" if method == "PATCH" else None, want=404)
        client.request("PUT", stolen, params={"digest": DIGEST}, data=CONTENT, want=404)
        check_created(client, client.finish_upload(location, DIGEST, CONTENT))

    @pytest.mark.parametrize("upload_id", [str(uuid.uuid4()), "nonsense", "..", "%2e%2e", "a%00b", "x" * 300, "%ff"])
    @pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
    def test_an_upload_nobody_began(self, client: RegistryClient, repo: str, upload_id: str, method: str) -> None:
        target = f"/v2/{repo}/blobs/uploads/{upload_id}?digest={DIGEST}"
        answer = ask(client.url, method, target, OCTETS, b"x" if method in ("PATCH", "PUT") else b"")
        assert (answer.status, answer.error_code) == (404, "BLOB_UPLOAD_UNKNOWN")


class TestCancel:
    def test_a_blob_upload(self, either: RegistryClient, repo: str) -> None:
        location = either.patch(either.start_upload(repo), CONTENT)
        either.request("DELETE", location, want=204)
        for method in ("GET", "DELETE"):
            either.request(method, location, want=404)
        assert error_code(either.request("PATCH", location, data=b"x", want=404)) == "BLOB_UPLOAD_UNKNOWN"
        assert not either.has_blob(repo, DIGEST)


class TestMount:
    def test_from_another_repository(self, either: RegistryClient, repo: str) -> None:
        either.push_blob(f"{repo}-source", CONTENT)
        answer = either.request(
            "POST", f"/v2/{repo}/blobs/uploads/", params={"mount": DIGEST, "from": f"{repo}-source"}, want=201
        )
        check_created(either, answer)
        assert either.blob(repo, DIGEST) == CONTENT

    def test_without_from(self, either: RegistryClient, repo: str) -> None:
        either.push_blob(f"{repo}-source", CONTENT)
        assert either.mount(repo, DIGEST)
        assert either.blob(repo, DIGEST) == CONTENT

    def test_of_sha512(self, client: RegistryClient, repo: str) -> None:
        digest = client.push_blob(f"{repo}-source", CONTENT, "sha512")
        assert client.mount(repo, digest, f"{repo}-source")
        assert client.blob(repo, digest) == CONTENT

    def test_into_the_same_repository(self, client: RegistryClient, repo: str) -> None:
        client.push_blob(repo, CONTENT)
        assert client.mount(repo, DIGEST, repo)

    @pytest.mark.parametrize("source", ["source", "never-seen", None])
    def test_of_what_is_missing_begins_an_upload(self, client: RegistryClient, repo: str, source: str | None) -> None:
        content = repo.encode() * 100
        digest = digest_of(content)
        client.push_blob(f"{repo}-source", b"another")
        params = {"mount": digest} | ({"from": f"{repo}-{source}"} if source else {})
        answer = client.request("POST", f"/v2/{repo}/blobs/uploads/", params=params, want=202)
        location = urljoin(client.url, answer.headers["Location"])
        check_created(client, client.finish_upload(location, digest, content), digest)

    def test_from_a_repository_that_does_not_have_it(self, client: RegistryClient, repo: str) -> None:
        client.push_blob(f"{repo}-source", CONTENT)
        client.push_blob(f"{repo}-other", b"x")
        assert not client.mount(repo, DIGEST, f"{repo}-other")

    def test_bad_names(self, client: RegistryClient, repo: str) -> None:
        path = f"/v2/{repo}/blobs/uploads/"
        assert error_code(client.request("POST", path, params={"mount": "sha256:1"}, want=400)) == "DIGEST_INVALID"
        params = {"mount": DIGEST, "from": "Not/A/Name"}
        assert error_code(client.request("POST", path, params=params, want=400)) == "NAME_INVALID"


class TestExpect:
    """Expect: 100-continue (RFC 9110, section 10.1.1)."""

    def test_a_body_that_is_welcome(self, client: RegistryClient, repo: str) -> None:
        path = urlsplit(client.start_upload(repo)).path
        with connect(client.url) as connection:
            head = (
                f"PUT {path}?digest={DIGEST} HTTP/1.1\r\nHost: registry\r\n"
                f"Content-Length: {len(CONTENT)}\r\nExpect: 100-continue\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert read_head(connection).startswith(b"HTTP/1.1 100 ")
            connection.sendall(CONTENT)
            assert read_head(connection).startswith(b"HTTP/1.1 201 ")
        assert client.blob(repo, DIGEST) == CONTENT

    def test_a_body_that_is_refused_before_it_is_sent(self, client: RegistryClient, repo: str) -> None:
        path = urlsplit(client.start_upload(repo)).path
        with connect(client.url) as connection:
            head = (
                f"PATCH {path} HTTP/1.1\r\nHost: registry\r\nContent-Range: 5-9\r\n"
                "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert read_head(connection).startswith(b"HTTP/1.1 416 ")


class TestEncoding:
    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "nonsense"])
    def test_a_content_encoding_is_refused(self, client: RegistryClient, repo: str, encoding: str) -> None:
        location = client.start_upload(repo)
        headers = {**OCTETS, "Content-Encoding": encoding}
        answer = client.request("PUT", location, params={"digest": DIGEST}, data=CONTENT, headers=headers, want=415)
        assert answer.json()["errors"]
        check_created(client, client.finish_upload(location, DIGEST, CONTENT))

    def test_identity_is_none(self, client: RegistryClient, repo: str) -> None:
        headers = {**OCTETS, "Content-Encoding": "identity"}
        answer = client.request(
            "PUT", client.start_upload(repo), params={"digest": DIGEST}, data=CONTENT, headers=headers
        )
        check_created(client, answer)

    def test_content_that_looks_compressed_is_kept_as_it_is(self, client: RegistryClient, repo: str) -> None:
        content = bytes.fromhex("1f8b08000000000000ff") + b"not really gzip"
        digest = client.push_blob(repo, content)
        assert client.blob(repo, digest) == content
        answer = client.request("GET", f"/v2/{repo}/blobs/{digest}", headers={"Accept-Encoding": "gzip"}, want=200)
        assert "Content-Encoding" not in answer.headers
