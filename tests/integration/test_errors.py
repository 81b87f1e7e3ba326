"""Error codes, methods, bad names, queries and requests: always the specification's JSON, never a 5xx."""

from __future__ import annotations

import json

import pytest

from tests.harness.client import RegistryClient
from tests.harness.content import digest_of, small_image
from tests.integration.raw import Answer, ask, connect, read_head

DIGEST = digest_of(b"x")
BAD_NAMES = [
    "UPPER",
    "a..b",
    "-a",
    "a-",
    "a//b",
    "a%20b",
    "%C3%A4",
    "%ff",
    "a%00b",
    "a%0ab",
    "_a",
    "a" * 256,
    "a/../b",
    ".",
]
BAD_TAGS = [".a", "-a", "a" * 129, "a%20b", "a+b", "%C3%A4", "%ff", "a%00", "a%0a", "a@b"]
BAD_DIGESTS = [
    "sha256:",
    "sha256:1",
    "md5:" + "0" * 32,
    DIGEST.upper(),
    DIGEST + "0",
    "sha256:%00",
    "sha256:%ff",
    ":",
    "a:b",
]


def check_error(answer: Answer, status: int, *codes: str) -> None:
    """The form of an error, and its code."""
    assert answer.status == status, answer
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    document = json.loads(answer.body)
    for entry in document["errors"]:
        assert set(entry) <= {"code", "message", "detail"}
        assert entry["message"]
    assert document["errors"][0]["code"] in codes


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/"),
        ("GET", "/v2/x"),
        ("GET", "/v2/x/manifests"),
        ("GET", "/v2/x/manifests/"),
        ("PUT", "/v2//manifests/latest"),
        ("GET", "/v2/x/tags"),
        ("GET", "/v2/x/tags/list/"),
        ("GET", "/v2/x/referrers/"),
        ("GET", "/v2/_catalog/"),
        ("POST", "/favicon.ico"),
        ("GET", "/v2/../etc/passwd"),
        ("GET", "/..%2f..%2fetc%2fpasswd"),
        ("GET", "//v2/"),
    ],
)
def test_404_of_a_path_that_is_no_part_of_the_api(client: RegistryClient, method: str, path: str) -> None:
    check_error(ask(client.url, method, path), 404, "UNSUPPORTED", "NAME_INVALID")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/", {"GET", "HEAD"}),
        ("/v2/_catalog", {"GET", "HEAD"}),
        ("/v2/x/tags/list", {"GET", "HEAD"}),
        (f"/v2/x/referrers/{DIGEST}", {"GET", "HEAD"}),
        ("/v2/x/manifests/latest", {"GET", "HEAD", "PUT", "DELETE"}),
        (f"/v2/x/blobs/{DIGEST}", {"GET", "HEAD", "DELETE"}),
        ("/v2/x/blobs/uploads/", {"POST"}),
        ("/v2/x/blobs/uploads/0", {"GET", "HEAD", "PATCH", "PUT", "DELETE"}),
        ("/healthz", {"GET", "HEAD"}),
        ("/readyz", {"GET", "HEAD"}),
    ],
)
def test_405_with_allow(client: RegistryClient, path: str, allowed: set[str]) -> None:
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        answer = ask(client.url, method, path)
        check_error(answer, 405, "UNSUPPORTED")
        assert {entry.strip() for entry in answer.headers["allow"].split(",")} == allowed


def test_head_wherever_get_is(client: RegistryClient, repo: str) -> None:
    item = small_image()
    client.push_image(repo, item, "latest")
    location = client.start_upload(repo)
    for path in (
        "/v2/",
        "/v2/_catalog",
        f"/v2/{repo}/tags/list",
        f"/v2/{repo}/referrers/{item.digest}",
        f"/v2/{repo}/manifests/latest",
        f"/v2/{repo}/blobs/{item.config.digest}",
        f"/v2/{repo}/manifests/absent",
        f"/v2/{repo}/blobs/{DIGEST}",
        location,
        "/healthz",
        "/readyz",
    ):
        get, head = client.request("GET", path), client.request("HEAD", path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers.get("Content-Length", "0") == get.headers.get("Content-Length", "0")
        assert head.headers.get("Content-Type") == get.headers.get("Content-Type")


def test_every_answer_names_the_version_of_the_api(client: RegistryClient, repo: str) -> None:
    item = small_image()
    client.push_image(repo, item, "latest")
    config = f"/v2/{repo}/blobs/{item.config.digest}"
    for method, path in (
        ("GET", "/v2/"),
        ("GET", "/v2"),
        ("GET", config),
        ("HEAD", config),
        ("GET", f"/v2/{repo}/manifests/latest"),
        ("POST", f"/v2/{repo}/blobs/uploads/"),
        ("GET", f"/v2/{repo}/manifests/absent"),
        ("PATCH", "/v2/"),
        ("GET", "/v2/nothing"),
    ):
        answer = client.request(method, path)
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0", (method, path)
    partial = client.request("GET", config, headers={"Range": "bytes=0-1"}, want=206)
    assert partial.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_determining_support(either: RegistryClient) -> None:
    for path in ("/v2/", "/v2"):
        assert either.request("GET", path, want=200).json() == {}


def test_the_absolute_form_of_a_target(client: RegistryClient) -> None:
    """RFC 9112, section 3.2.2: a server has to accept it."""
    assert ask(client.url, "GET", f"{client.url}/v2/").status == 200


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", "manifests/latest"),
        ("HEAD", "manifests/latest"),
        ("PUT", "manifests/latest"),
        ("DELETE", "manifests/latest"),
        ("GET", f"blobs/{DIGEST}"),
        ("DELETE", f"blobs/{DIGEST}"),
        ("POST", "blobs/uploads/"),
        ("PATCH", "blobs/uploads/0"),
        ("GET", "tags/list"),
        ("GET", f"referrers/{DIGEST}"),
    ],
)
def test_bad_names(client: RegistryClient, name: str, method: str, rest: str) -> None:
    answer = ask(client.url, method, f"/v2/{name}/{rest}")
    if method == "HEAD":
        assert answer.status in (400, 404)
    elif "%0a" in name:
        check_error(answer, answer.status, "NAME_INVALID", "UNSUPPORTED")
        assert answer.status in (400, 404)
    else:
        check_error(answer, 400, "NAME_INVALID")


@pytest.mark.parametrize("tag", BAD_TAGS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_bad_tags(client: RegistryClient, repo: str, tag: str, method: str) -> None:
    client.push_image(repo, small_image(), "latest")
    answer = ask(client.url, method, f"/v2/{repo}/manifests/{tag}", body=b"{}" if method == "PUT" else b"")
    if method == "HEAD":
        assert answer.status == 400
    else:
        check_error(answer, 400, "TAG_INVALID")


@pytest.mark.parametrize("digest", BAD_DIGESTS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "blobs/{}"),
        ("DELETE", "blobs/{}"),
        ("GET", "manifests/{}"),
        ("PUT", "manifests/{}"),
        ("DELETE", "manifests/{}"),
        ("GET", "referrers/{}"),
        ("POST", "blobs/uploads/?digest={}"),
        ("POST", "blobs/uploads/?mount={}&from=a"),
    ],
)
def test_bad_digests(client: RegistryClient, repo: str, digest: str, method: str, path: str) -> None:
    answer = ask(client.url, method, f"/v2/{repo}/{path.format(digest)}", body=b"{}" if method == "PUT" else b"")
    check_error(answer, 400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    "query", ["?last=%ff", "?last=%ED%A0%80", "?n=%00", "?last=\xff\xfe", "?&&==&n", "?" + "a" * 5000, "?n=1&n=x", "?%"]
)
@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/{repo}/tags/list", f"/v2/{{repo}}/referrers/{DIGEST}"])
def test_odd_queries(client: RegistryClient, repo: str, path: str, query: str) -> None:
    client.push_image(repo, small_image(), "latest")
    with connect(client.url) as connection:
        target = path.format(repo=repo) + query
        connection.sendall(b"GET " + target.encode("latin-1") + b" HTTP/1.1\r\nHost: registry\r\n\r\n")
        status = int(read_head(connection).split()[1])
        assert status in (200, 400), target


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v2/ HTTP/9.9",
        b"GET",
        b"\x00\x01\x02",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nBad Header: x",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000,
    ],
    ids=range(7),
)
def test_what_is_no_request(client: RegistryClient, head: bytes) -> None:
    with connect(client.url) as connection:
        connection.sendall(head + b"\r\n\r\n")
        answer = b""
        while more := connection.recv(65536):
            answer += more
        assert 400 <= int(answer.split()[1]) < 500
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"]
