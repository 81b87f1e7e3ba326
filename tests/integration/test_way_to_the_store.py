"""The way to an object store: https with an authority of one's own, a proxy, and encryption by the store."""

from __future__ import annotations

import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import requests

from registry.domain.upload import StagedPart
from registry.errors import StartupError, StorageFailure
from registry.storage.s3.settings import StoreSettings
from tests.harness import certificates
from tests.harness.certificates import Certificates
from tests.harness.s3 import S3Server, SeaweedServer
from tests.harness.scripted_store import Reply, scripted
from tests.harness.server import ShoalServer
from tests.harness.store_proxy import StoreProxy
from tests.harness.tinyproxy import TinyProxy
from tests.integration.test_object_store import LARGE, SMALL, append, begin, blob_url, digest_of, finish, push
from tests.integration.test_s3_client import PART, TAIL, client_of, content_of
from tests.integration.test_s3_client_faults import keyed


@dataclass(frozen=True)
class SecureStore:
    server: SeaweedServer
    certificates: Certificates

    def bucket(self) -> StoreSettings:
        """A new one, by https and with the authority that signed the store's certificate."""
        found = self.server.bucket(f"secure-{uuid.uuid4()}")
        return replace(found, endpoint=self.server.https, ca_file=str(self.certificates.ca))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureStore]:
    root = tmp_path_factory.mktemp("secure")
    files = certificates.made(root / "files")
    server = SeaweedServer(root / "store", certificates=files).start()
    yield SecureStore(server, files)
    server.close()


@pytest.fixture
def bucket(s3_server: S3Server) -> StoreSettings:
    return s3_server.bucket(f"way-{uuid.uuid4()}")


def section(settings: StoreSettings, **more: str) -> dict[str, dict[str, str]]:
    return {"storage": {"kind": "s3", **asdict(settings), **more}}


async def start(settings: StoreSettings) -> None:
    async with client_of(settings) as client:
        await client.check_at_start()


async def refusal(settings: StoreSettings) -> str:
    """What the start says."""
    with pytest.raises(StartupError) as told:
        await start(settings)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.require("openssl")
class TestHttps:
    def test_with_an_authority_of_ones_own(self, secure: SecureStore, tmp_path: Path) -> None:
        with ShoalServer(tmp_path / "data", settings=section(secure.bucket())) as shoal:
            for content in (SMALL, LARGE):
                digest = push(shoal, content)
                assert requests.get(blob_url(shoal, digest), timeout=60).content == content
            assert shoal.complaints() == []

    async def test_of_an_unknown_authority_is_told_at_the_start(self, secure: SecureStore, tmp_path: Path) -> None:
        other = certificates.made(tmp_path / "other")
        for ca_file in ("", str(other.ca)):
            said = await refusal(replace(secure.bucket(), ca_file=ca_file))
            assert "storage.ca_file" in said
            assert "certificate" in said

    async def test_a_file_that_is_none_is_told(self, secure: SecureStore, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no certificate")
        assert "no certificate" in await refusal(replace(secure.bucket(), ca_file=str(tmp_path / "text")))
        assert "No such file" in await refusal(replace(secure.bucket(), ca_file=str(tmp_path / "none")))

    async def test_to_a_port_that_speaks_http_is_told(self, bucket: StoreSettings) -> None:
        said = await refusal(replace(bucket, endpoint=bucket.endpoint.replace("http:", "https:")))
        assert "cannot be reached" in said


@pytest.mark.require("tinyproxy")
class TestProxy:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_is_on_the_way(self, bucket: StoreSettings, secure: SecureStore, tmp_path: Path, scheme: str) -> None:
        settings = bucket if scheme == "http" else secure.bucket()
        with TinyProxy(tmp_path) as proxy:
            with ShoalServer(tmp_path / "data", settings=section(settings, proxy=proxy.url)) as shoal:
                for content in (SMALL, LARGE):
                    digest = push(shoal, content)
                    assert requests.get(blob_url(shoal, digest), timeout=60).content == content
            assert proxy.passed_on("CONNECT" if scheme == "https" else "PUT") > 0

    def test_that_is_down_is_told_and_passes(self, bucket: StoreSettings, tmp_path: Path) -> None:
        settings = section(bucket)
        with TinyProxy(tmp_path) as proxy:
            settings["storage"]["proxy"] = proxy.url
            with ShoalServer(tmp_path / "data", settings=settings) as shoal:
                digest = push(shoal, SMALL)
                proxy.stop()
                assert requests.get(f"{shoal.url}/readyz", timeout=30).status_code == 503
                proxy.start()
                assert requests.get(f"{shoal.url}/readyz", timeout=30).status_code == 200
                assert requests.get(blob_url(shoal, digest), timeout=30).content == SMALL

    @pytest.mark.slow
    def test_that_stays_down_is_503(self, bucket: StoreSettings, tmp_path: Path) -> None:
        proxy = TinyProxy(tmp_path)
        proxy.start()
        with ShoalServer(tmp_path / "data", settings=section(bucket, proxy=proxy.url)) as shoal:
            digest = push(shoal, SMALL)
            proxy.stop()
            answer = requests.get(blob_url(shoal, digest), timeout=30)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)

    async def test_that_is_none_is_told_at_the_start(self, bucket: StoreSettings) -> None:
        assert "storage.proxy" in await refusal(replace(bucket, proxy="http://127.0.0.1:9"))
        assert "http://HOST:PORT" in await refusal(replace(bucket, proxy="127.0.0.1:9"))


def with_key(url: str) -> StoreSettings:
    return replace(keyed(url), sse="aws:kms", kms_key="the-key")


class TestEncryption:
    async def test_by_the_store_leaves_the_bytes_as_they_were(self, s3_server: S3Server, bucket: StoreSettings) -> None:
        sse, kms_key = s3_server.encryption
        with StoreProxy(s3_server.endpoint) as proxy:
            async with client_of(replace(bucket, endpoint=proxy.url, sse=sse, kms_key=kms_key)) as client:
                await client.put("small", TAIL)
                upload = await client.create_multipart("large")
                parts = [await client.upload_part("large", upload, n, body) for n, body in ((1, PART), (2, TAIL))]
                whole = PART + TAIL
                await client.complete("large", upload, parts, len(whole))
                assert await content_of(client, "small", 0, len(TAIL), len(TAIL)) == TAIL
                assert await content_of(client, "large", 0, len(whole), len(whole)) == whole
                assert await content_of(client, "large", 5_000_000, 5_300_000, len(whole)) == whole[5_000_000:5_300_000]
                assert await client.head("large") == len(whole)
        assert proxy.counts["HeadObject"] == 1  # that the store encrypts was seen before
        for kind in ("PutObject", "CreateMultipartUpload"):
            assert proxy.headers[kind]["x-amz-server-side-encryption"] == sse
        assert "x-amz-server-side-encryption" not in proxy.headers["UploadPart"]
        for key in ("small", "large"):
            assert s3_server.boto().head_object(Bucket=bucket.bucket, Key=key)["ServerSideEncryption"] == sse

    def test_is_seen_by_no_client(self, s3_server: S3Server, bucket: StoreSettings, tmp_path: Path) -> None:
        sse, kms_key = s3_server.encryption
        settings = section(replace(bucket, sse=sse, kms_key=kms_key), redirect="always")
        with ShoalServer(tmp_path / "data", settings=settings) as shoal:
            for content in (SMALL, LARGE):
                url = begin(shoal)
                append(url, content)
                assert finish(url, digest_of(content)).status_code == 201
                answer = requests.get(blob_url(shoal, digest_of(content)), allow_redirects=False, timeout=60)
                with urllib.request.urlopen(answer.headers["Location"], timeout=60) as there:  # noqa: S310 - our own address
                    assert there.read() == content

    async def test_with_a_key_of_ones_own_names_it(self) -> None:
        headers = {"ETag": "etag", "x-amz-server-side-encryption": "aws:kms"}
        reply = Reply(pieces=(b"<R><UploadId>an-id</UploadId></R>",), headers=headers)
        async with scripted(reply) as store, client_of(with_key(store.url)) as client:
            await client.put("key", TAIL)
            await client.create_multipart("key")
            await client.upload_part("key", "an-id", 1, TAIL)
        name = "x-amz-server-side-encryption-aws-kms-key-id"
        assert [asked.headers.get(name) for asked in store.asked] == ["the-key", "the-key", None]

    async def test_that_the_store_does_not_do_is_a_failure(self) -> None:
        completed = Reply(pieces=(b"<CompleteMultipartUploadResult/>",))
        async with scripted(Reply(), completed, Reply()) as store, client_of(with_key(store.url)) as client:
            with pytest.raises(StorageFailure, match="does not encrypt"):
                await client.put("key", TAIL)
            with pytest.raises(StorageFailure, match="does not encrypt"):
                await client.complete("key", "upload", [StagedPart("etag", 5)], 5)


class TestStart:
    async def test_the_region_of_the_bucket_is_told(self) -> None:
        async with scripted(Reply(301, headers={"x-amz-bucket-region": "eu-central-1"})) as store:
            said = await refusal(keyed(store.url))
        assert "is in the region eu-central-1: write that in storage.region" in said
