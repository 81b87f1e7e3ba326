"""A registry whose blobs are objects, on a real S3 server."""

from __future__ import annotations

import hashlib
import itertools
import socket
import subprocess
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import ShoalServer, to_toml
from tests.harness.store_proxy import Fault, StoreProxy

REPO = "library/one"
SMALL = b"a small layer" * 100
LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(700_000))  # 21 MiB: three parts
_buckets = itertools.count(1)


@pytest.fixture
def s3(s3_server: S3Server) -> S3Server:
    return s3_server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.bucket(f"bucket-{next(_buckets)}").bucket


def storage(s3: S3Server, bucket: str, **more: str) -> dict[str, dict[str, str]]:
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return {"storage": {"kind": "s3", "endpoint": s3.endpoint, "bucket": bucket, **keys, **more}}


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def begin(shoal: ShoalServer) -> str:
    answer = requests.post(f"{shoal.url}/v2/{REPO}/blobs/uploads/", timeout=30)
    assert answer.status_code == 202
    return requests.compat.urljoin(shoal.url, answer.headers["Location"])


def append(url: str, content: bytes) -> requests.Response:
    return requests.patch(url, data=content, timeout=60)


def finish(url: str, digest: str, content: bytes = b"") -> requests.Response:
    return requests.put(url, params={"digest": digest}, data=content, timeout=60)


def push(shoal: ShoalServer, content: bytes, *cuts: int) -> str:
    """POST, a PATCH for each piece, an empty PUT."""
    url = begin(shoal)
    for start, stop in itertools.pairwise((0, *cuts, len(content))):
        answer = append(url, content[start:stop])
        assert answer.status_code == 202
        assert answer.headers["Range"] == f"0-{max(stop - 1, 0)}"
    assert finish(url, digest_of(content)).status_code == 201
    return digest_of(content)


def blob_url(shoal: ShoalServer, digest: str) -> str:
    return f"{shoal.url}/v2/{REPO}/blobs/{digest}"


class TestPushAndPull:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_of_every_size_and_way(self, s3: S3Server, bucket: str, tmp_path: Path, workers: int) -> None:
        with ShoalServer(tmp_path / "data", workers=workers, settings=storage(s3, bucket)) as shoal:
            for content, cuts in (
                (b"", ()),
                (SMALL, ()),
                (SMALL + b"!", (1, 700)),
                (LARGE, ()),
                (LARGE + b"1", (6 * 1024 * 1024, 7 * 1024 * 1024, 20 * 1024 * 1024)),
            ):
                digest = push(shoal, content, *cuts)
                answer = requests.get(blob_url(shoal, digest), timeout=60)
                assert (answer.status_code, answer.content) == (200, content)
            whole = SMALL + b"at once"
            assert finish(begin(shoal), digest_of(whole), whole).status_code == 201
            assert requests.get(blob_url(shoal, digest_of(whole)), timeout=60).content == whole
            part = requests.get(blob_url(shoal, digest_of(LARGE)), headers={"Range": "bytes=100-199"}, timeout=60)
            assert (part.status_code, part.content) == (206, LARGE[100:200])
            several = {"Range": "bytes=0-9,20-29"}
            parts = requests.get(blob_url(shoal, digest_of(LARGE)), headers=several, timeout=60)
            assert LARGE[:10] in parts.content
            assert LARGE[20:30] in parts.content
            assert shoal.complaints() == []
        assert s3.multiparts(bucket) == []
        assert sorted(s3.objects(bucket).values(), reverse=True)[:2] == [len(LARGE) + 1, len(LARGE)]

    def test_a_digest_that_nobody_announced(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket)) as shoal:
            for content in (SMALL, LARGE):
                url = begin(shoal)
                append(url, content)
                assert finish(url, digest_of(content, "sha512")).status_code == 201
                assert requests.get(blob_url(shoal, digest_of(content, "sha512")), timeout=60).content == content

    def test_a_wrong_digest_leaves_nothing(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket)) as shoal:
            url = begin(shoal)
            append(url, SMALL)
            assert finish(url, digest_of(b"other")).status_code == 400
            assert requests.get(blob_url(shoal, digest_of(b"other")), timeout=60).status_code == 404
            assert finish(url, digest_of(SMALL)).status_code == 201

    def test_an_upload_goes_on_after_a_restart(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket)) as shoal:
            url = begin(shoal)
            append(url, LARGE[:9_000_000])
            shoal.kill()
            shoal.restart()
            assert append(url, LARGE[9_000_000:]).headers["Range"] == f"0-{len(LARGE) - 1}"
            assert finish(url, digest_of(LARGE)).status_code == 201
            assert requests.get(blob_url(shoal, digest_of(LARGE)), timeout=60).content == LARGE


class TestCrowd:
    def test_clients_that_do_not_read_hold_up_nobody(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        """More of them than there are connections for all else; what they cost is bounded."""
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket)) as shoal, ExitStack() as stack:
            digest = push(shoal, LARGE, len(LARGE) // 2)
            for _ in range(80):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", shoal.port)))
                client.sendall(f"GET /v2/{REPO}/blobs/{digest} HTTP/1.1\r\nHost: shoal\r\n\r\n".encode())
                assert client.recv(12) == b"HTTP/1.1 200"
            assert requests.get(blob_url(shoal, digest), timeout=10).content == LARGE
            assert finish(begin(shoal), digest_of(SMALL), SMALL).status_code == 201
            peak = next(line for line in Path(f"/proc/{shoal.pid}/status").read_text().splitlines() if "VmHWM" in line)
            assert int(peak.split()[1]) < 256 * 1024, peak


class TestRedirect:
    def test_sends_clients_to_the_store(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket, redirect="always")) as shoal:
            digest = push(shoal, SMALL)
            answer = requests.get(blob_url(shoal, digest), allow_redirects=False, timeout=30)
            assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (307, digest)
            assert answer.headers["Location"].startswith(s3.endpoint)
            with urllib.request.urlopen(answer.headers["Location"], timeout=30) as there:  # noqa: S310 - our own address
                assert there.read() == SMALL
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 200


class TestDamage:
    def test_a_changed_object_is_cut_and_logged(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket)) as shoal:
            digest = push(shoal, LARGE)
            (key,) = s3.objects(bucket)
            s3.boto().put_object(Bucket=bucket, Key=key, Body=LARGE[:-1] + b"?")
            with pytest.raises(requests.exceptions.RequestException):
                _ = requests.get(blob_url(shoal, digest), timeout=60).content
            shoal.wait_for_log(lambda entry: "has changed" in str(entry.get("event")))
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 404
            push(shoal, LARGE)
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 200
            assert requests.get(blob_url(shoal, digest), timeout=60).content == LARGE

    def test_an_object_of_another_size_or_none_is_an_error(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket)) as shoal:
            digest = push(shoal, SMALL)
            (key,) = s3.objects(bucket)
            s3.boto().put_object(Bucket=bucket, Key=key, Body=b"short")
            assert requests.get(blob_url(shoal, digest), timeout=60).status_code == 500
            s3.boto().delete_object(Bucket=bucket, Key=key)
            assert requests.get(blob_url(shoal, digest), timeout=60).status_code == 404
            push(shoal, SMALL)
            assert requests.get(blob_url(shoal, digest), timeout=60).content == SMALL

    @pytest.mark.parametrize("redirect", ["never", "always"])
    def test_a_push_that_asks_first_heals_a_lost_object(
        self, s3: S3Server, bucket: str, tmp_path: Path, redirect: str
    ) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket, redirect=redirect)) as shoal:
            digest = push(shoal, SMALL)
            (key,) = s3.objects(bucket)
            s3.boto().delete_object(Bucket=bucket, Key=key)
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 404
            mount = requests.post(
                f"{shoal.url}/v2/library/two/blobs/uploads/", params={"mount": digest, "from": REPO}, timeout=30
            )
            assert mount.status_code == 202
            shoal.wait_for_log(lambda entry: "its object is missing" in str(entry.get("event")))
            push(shoal, SMALL)
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 200
            assert requests.get(blob_url(shoal, digest), timeout=30).content == SMALL

    def test_a_read_that_finds_no_object_makes_the_next_head_ask(
        self, s3: S3Server, bucket: str, tmp_path: Path
    ) -> None:
        with ShoalServer(tmp_path / "data", settings=storage(s3, bucket)) as shoal:
            digest = push(shoal, SMALL)
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 200
            (key,) = s3.objects(bucket)
            s3.boto().delete_object(Bucket=bucket, Key=key)
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 200  # for a minute
            assert requests.get(blob_url(shoal, digest), timeout=30).status_code == 404
            assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 404
            assert "shoal_blobs_damaged_total 2.0" in requests.get(f"{shoal.url}/metrics", timeout=30).text

    def test_many_heads_cost_one_request(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with StoreProxy(s3.endpoint) as proxy:
            settings = storage(s3, bucket, endpoint=proxy.url)
            with ShoalServer(tmp_path / "data", settings=settings) as shoal:
                digest = push(shoal, SMALL)
                for _ in range(20):
                    assert requests.head(blob_url(shoal, digest), timeout=30).status_code == 200
                assert proxy.counts["HeadObject"] == 1

    def test_a_store_that_is_away_does_not_make_blobs_unknown(self, s3: S3Server, bucket: str, tmp_path: Path) -> None:
        with StoreProxy(s3.endpoint) as proxy:
            settings = storage(s3, bucket, endpoint=proxy.url)
            with ShoalServer(tmp_path / "data", settings=settings) as shoal:
                digest = push(shoal, SMALL)
                proxy.choose = lambda _method, _url: Fault(status=503)
                answer = requests.head(blob_url(shoal, digest), timeout=30)
                assert (answer.status_code, answer.elapsed.total_seconds() < 4) == (200, True)


class TestStart:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"bucket": "there-is-none"}, "does not exist"),
            ({"secret_key": "wrong"}, "is forbidden"),
            ({"endpoint": "http://127.0.0.1:9"}, "cannot be reached"),
            ({"bucket": ""}, "needs the name of a bucket"),
        ],
    )
    def test_a_bucket_that_cannot_be_used(
        self, s3: S3Server, bucket: str, tmp_path: Path, change: dict[str, str], said: str
    ) -> None:
        settings = storage(s3, bucket)
        settings["storage"] |= change
        shoal = ShoalServer(tmp_path / "data")
        config = tmp_path / "shoal.toml"
        config.write_text(to_toml(settings))
        done = subprocess.run(
            [*shoal.command, "--config", str(config)], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
