"""The client of object stores where the way to the store, its answers or the clocks fail."""

from __future__ import annotations

import calendar
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from email.utils import formatdate

import pytest

from benchmarks.recorder import operation_of
from registry.domain.upload import StagedPart
from registry.errors import StorageFailure, Unavailable
from registry.storage.s3 import transport
from registry.storage.s3.client import NoSuchMultipartError, S3Client
from registry.storage.s3.settings import StoreSettings
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.s3 import S3Server
from tests.harness.scripted_store import Reply, scripted
from tests.harness.store_proxy import Choose, Fault, StoreProxy
from tests.integration.test_s3_client import PART, TAIL, client_of, content_of

SKEW = 7200


@pytest.fixture
def bucket(s3_server: S3Server) -> StoreSettings:
    return s3_server.bucket(f"client-{uuid.uuid4()}")


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[StoreProxy]:
    with StoreProxy(s3_server.endpoint) as found:
        yield found


@pytest.fixture
def wire(s3_server: S3Server) -> Iterator[CuttingProxy]:
    with CuttingProxy(s3_server.port) as found:
        yield found


@pytest.fixture
async def client(bucket: StoreSettings, proxy: StoreProxy) -> AsyncIterator[S3Client]:
    """One that has sent a body, and so knows which checksum the store compares."""
    async with client_of(replace(bucket, endpoint=proxy.url)) as found:
        await found.put("before", b"")
        proxy.counts.clear()
        yield found


def keyed(url: str) -> StoreSettings:
    return StoreSettings("bucket", url, access_key="access", secret_key="secret")


def first(times: int, kind: str, fault: Fault) -> Choose:
    left = itertools.count(times, -1)
    return lambda method, url: fault if operation_of(method, url) == kind and next(left) > 0 else None


class TestRefusalsThatPass:
    @pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout")])
    async def test_are_lived_through(self, client: S3Client, proxy: StoreProxy, status: int, code: str) -> None:
        proxy.choose = first(2, "PutObject", Fault(status=status, code=code))
        await client.put("key", TAIL)
        assert await client.head("key") == len(TAIL)
        assert proxy.counts == {"PutObject": 3, "HeadObject": 1}

    async def test_others_are_told_at_once(self, client: S3Client, proxy: StoreProxy) -> None:
        proxy.choose = first(1, "PutObject", Fault(status=403, code="AccessDenied"))
        with pytest.raises(StorageFailure) as told:
            await client.put("key", TAIL)
        assert told.value.detail == {"status": 403, "code": "AccessDenied", "error": "403 AccessDenied"}
        assert proxy.counts == {"PutObject": 1}

    async def test_a_store_that_stays_away_is_unavailable(self, client: S3Client, proxy: StoreProxy) -> None:
        proxy.choose = lambda _method, _url: Fault(status=503)
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await client.check()
        assert time.monotonic() - begun < 4


class TestBrokenConnections:
    @pytest.mark.parametrize("after", [0, 1_000, 3_000_000])
    async def test_a_reset_in_the_middle_of_a_part(self, bucket: StoreSettings, wire: CuttingProxy, after: int) -> None:
        async with client_of(replace(bucket, endpoint=wire.url)) as client:
            upload = await client.create_multipart("key")
            wire.cut("up", after, times=2)
            part = await client.upload_part("key", upload, 1, PART)
            await client.complete("key", upload, [part], len(PART))
            assert await content_of(client, "key", 0, len(PART), len(PART)) == PART
        assert wire.count.struck >= 1

    async def test_a_read_goes_on_by_range(self, bucket: StoreSettings, wire: CuttingProxy) -> None:
        async with client_of(replace(bucket, endpoint=wire.url)) as client:
            await client.put("key", PART)
            wire.reset_count()
            wire.cut("down", 2_000_000, times=2)
            assert await content_of(client, "key", 0, len(PART), len(PART)) == PART
        assert wire.count.struck == 2
        assert wire.count.down < len(PART) + 1_000_000, "what had come was asked for again"


class TestCompletions:
    async def test_a_lost_answer_is_settled(self, client: S3Client, proxy: StoreProxy) -> None:
        upload = await client.create_multipart("key")
        part = await client.upload_part("key", upload, 1, TAIL)
        proxy.choose = first(1, "CompleteMultipartUpload", Fault(cut_answer=0))
        await client.complete("key", upload, [part], len(TAIL))
        assert await client.head("key") == len(TAIL)

    async def test_an_upload_that_went_is_settled_by_what_is_there(self) -> None:
        """Amazon's answer to a second completion; the size alone says whether the first one was made."""
        gone = Reply(404, (b"<Error><Code>NoSuchUpload</Code></Error>",))
        async with scripted(Reply(503), gone, Reply(headers={"Content-Length": "42"})) as store:
            async with client_of(keyed(store.url)) as client:
                await client.complete("key", "upload", [StagedPart("etag", 5)], 42)
            assert [asked.method for asked in store.asked] == ["POST", "POST", "HEAD"]
        other = Reply(headers={"Content-Length": "41"})
        async with scripted(gone, other) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(NoSuchMultipartError):
                await client.complete("key", "upload", [StagedPart("etag", 5)], 42)

    async def test_etags_are_given_back_as_they_came(self) -> None:
        parts = [StagedPart('"quoted"', 1), StagedPart("plain", 1, "crc="), StagedPart("<&>", 1)]
        result = Reply(pieces=(b"<CompleteMultipartUploadResult/>",))
        async with scripted(result) as store, client_of(keyed(store.url)) as client:
            await client.complete("key", "upload", parts, 3)
        assert b'<ETag>"quoted"</ETag>' in store.asked[0].body
        assert b"<ETag>plain</ETag><ChecksumCRC32>crc=</ChecksumCRC32>" in store.asked[0].body
        assert b"<PartNumber>3</PartNumber><ETag>&lt;&amp;&gt;</ETag></Part>" in store.asked[0].body


class TestClocks:
    async def test_the_clock_of_the_store_counts(self) -> None:
        theirs = formatdate(time.time() + SKEW, usegmt=True)
        skewed = Reply(403, (b"<Error><Code>RequestTimeTooSkewed</Code></Error>",), {"Date": theirs})
        async with scripted(skewed, Reply()) as store, client_of(keyed(store.url)) as client:
            await client.put("key", TAIL)
            url = await client.presigned("key", 60)
        stamps = [time.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ") for asked in store.asked]
        assert abs(calendar.timegm(stamps[1]) - calendar.timegm(stamps[0]) - SKEW) < 10
        assert time.strftime("%Y%m%dT%H", stamps[1]) in url


class TestSilence:
    async def test_a_store_that_says_nothing_is_asked_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "_SILENCE", 0.3)
        async with scripted(Reply(reads=False), Reply()) as store, client_of(keyed(store.url)) as client:
            await client.put("key", TAIL)
        assert len(store.asked) == 2


async def test_nothing_lists_and_nothing_copies(client: S3Client, proxy: StoreProxy) -> None:
    upload = await client.create_multipart("key")
    part = await client.upload_part("key", upload, 1, TAIL)
    await client.complete("key", upload, [part], len(TAIL))
    assert await content_of(client, "key", 0, len(TAIL), len(TAIL)) == TAIL
    await client.put("other", TAIL)
    await client.delete("other")
    await client.check()
    assert proxy.counts == {
        "CreateMultipartUpload": 1, "UploadPart": 1, "CompleteMultipartUpload": 1, "GetObject": 1,
        "PutObject": 1, "DeleteObject": 1, "HeadBucket": 1,
    }  # fmt: skip
