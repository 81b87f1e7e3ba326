"""The client of object stores against a real one: every operation, keys, signatures, and refusals."""

from __future__ import annotations

import base64
import os
import tempfile
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from registry.errors import StartupError, StorageFailure
from registry.storage.s3.client import NoSuchMultipartError, NoSuchObjectError, S3Client
from registry.storage.s3.settings import StoreSettings
from registry.storage.s3.transport import FileBody
from tests.harness.ceph import CephServer
from tests.harness.content import random_bytes
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server, SeaweedServer
from tests.harness.scripted_store import Reply, scripted

PART = random_bytes(5 * 1024 * 1024, 1)
TAIL = random_bytes(70_001, 2)
ODD_KEYS = [
    "with space", "a+b", "50%", "%41", "a=b&c=d?e#f", "~tilde", "quote'\"", "ümläut/世界", "a;b,c:d@e", "(x)!*",
    "x" * 200,
]  # fmt: skip


@asynccontextmanager
async def client_of(settings: StoreSettings) -> AsyncIterator[S3Client]:
    client = S3Client(settings)
    try:
        yield client
    finally:
        await client.close()


async def content_of(client: S3Client, key: str, start: int, stop: int, size: int) -> bytes:
    return b"".join([chunk async for chunk in client.read(key, start, stop, size)])


@pytest.fixture
def bucket(s3_server: S3Server) -> StoreSettings:
    return s3_server.bucket(f"client-{uuid.uuid4()}")


@pytest.fixture
async def client(bucket: StoreSettings) -> AsyncIterator[S3Client]:
    async with client_of(bucket) as found:
        yield found


@pytest.fixture
def spooled() -> Iterator[FileBody]:
    with tempfile.TemporaryFile() as file:
        file.write(PART)
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_END)  # where the file stands has no meaning for what is sent
        yield FileBody(file.fileno(), len(PART), zlib.crc32(PART))


class TestObjects:
    async def test_come_back_as_they_were_put(self, client: S3Client, spooled: FileBody) -> None:
        await client.put("small", TAIL)
        await client.put("large", spooled)
        assert await client.head("small") == len(TAIL)
        assert await content_of(client, "small", 0, len(TAIL), len(TAIL)) == TAIL
        assert await content_of(client, "large", 0, len(PART), len(PART)) == PART
        assert await content_of(client, "large", 4_000_000, 4_000_100, len(PART)) == PART[4_000_000:4_000_100]

    async def test_an_empty_one(self, client: S3Client) -> None:
        await client.put("empty", b"")
        assert await client.head("empty") == 0
        assert await content_of(client, "empty", 0, 0, 0) == b""

    async def test_may_be_removed_twice(self, client: S3Client) -> None:
        await client.put("key", TAIL)
        await client.delete("key")
        await client.delete("key")
        assert await client.head("key") is None
        with pytest.raises(NoSuchObjectError):
            await content_of(client, "key", 0, 10, 10)

    async def test_of_another_size_are_refused(self, client: S3Client) -> None:
        await client.put("key", TAIL)
        for size in (len(TAIL) - 1, len(TAIL) + 1):
            with pytest.raises(StorageFailure):
                await content_of(client, "key", 0, size, size)

    async def test_bytes_that_changed_on_the_way_are_refused(self, client: S3Client, spooled: FileBody) -> None:
        await client.put("before", TAIL)  # which checksum the store knows is found out with the first body
        with pytest.raises(StorageFailure):
            await client.put("key", replace(spooled, crc32=zlib.crc32(TAIL)))
        assert await client.head("key") is None


class TestMultiparts:
    async def test_become_one_object(self, client: S3Client, spooled: FileBody) -> None:
        upload = await client.create_multipart("key")
        parts = [
            await client.upload_part("key", upload, 1, spooled),
            await client.upload_part("key", upload, 2, TAIL),
        ]
        assert await client.head("key") is None
        assert await client.multiparts_of("key") == [upload]
        await client.complete("key", upload, parts, len(PART + TAIL))
        assert await content_of(client, "key", 0, len(PART + TAIL), len(PART + TAIL)) == PART + TAIL
        assert await client.multiparts_of("key") == []

    async def test_a_second_completion_is_none(self, client: S3Client) -> None:
        upload = await client.create_multipart("key")
        part = await client.upload_part("key", upload, 1, TAIL)
        await client.complete("key", upload, [part], len(TAIL))
        await client.complete("key", upload, [part], len(TAIL))

    async def test_may_be_given_up_twice(self, client: S3Client) -> None:
        upload = await client.create_multipart("key")
        part = await client.upload_part("key", upload, 1, TAIL)
        await client.abort("key", upload)
        await client.abort("key", upload)
        assert await client.multiparts_of("key") == []
        with pytest.raises(NoSuchMultipartError):
            await client.upload_part("key", upload, 2, TAIL)
        with pytest.raises(NoSuchMultipartError):
            await client.complete("key", upload, [part], len(TAIL))

    async def test_those_of_a_key_are_its_own(self, client: S3Client) -> None:
        upload = await client.create_multipart("key")
        await client.create_multipart("key-with-more")
        assert await client.multiparts_of("key") == [upload]

    async def test_go_on_after_a_crash_of_the_store(
        self, store_class: type[SeaweedServer | CephServer], tmp_path: Path
    ) -> None:
        server = store_class(tmp_path / "store").start()
        try:
            async with client_of(server.bucket("crashes")) as client:
                upload = await client.create_multipart("key")
                first = await client.upload_part("key", upload, 1, PART)
                server.kill()
                server.start()
                second = await client.upload_part("key", upload, 2, TAIL)
                await client.complete("key", upload, [first, second], len(PART + TAIL))
                assert await content_of(client, "key", 0, len(PART + TAIL), len(PART + TAIL)) == PART + TAIL
        finally:
            server.close()


class TestKeys:
    @pytest.mark.parametrize("key", ODD_KEYS)
    async def test_of_every_form(self, bucket: StoreSettings, s3_server: S3Server, key: str) -> None:
        async with client_of(replace(bucket, prefix="pre fix/+/")) as client:
            await client.put(key, TAIL)
            assert s3_server.objects(bucket.bucket) == {f"pre fix/+/{key}": len(TAIL)}
            assert await content_of(client, key, 0, len(TAIL), len(TAIL)) == TAIL
            upload = await client.create_multipart(key)
            assert await client.multiparts_of(key) == [upload]
            await client.abort(key, upload)
            url = await client.presigned(key, 60)
            async with aiohttp.ClientSession() as plain, plain.get(url) as answer:
                assert (answer.status, await answer.read()) == (200, TAIL)
            await client.delete(key)
        assert s3_server.objects(bucket.bucket) == {}


class TestSignatures:
    async def test_an_address_is_for_one_object_and_for_reading(self, client: S3Client) -> None:
        await client.put("key", TAIL)
        await client.put("other", TAIL)
        url = await client.presigned("key", 60)
        async with aiohttp.ClientSession() as plain:
            async with plain.get(url, headers={"Range": "bytes=5-9"}) as answer:
                assert (answer.status, await answer.read()) == (206, TAIL[5:10])
            async with plain.get(url.replace("/key?", "/other?")) as answer:
                assert answer.status == 403
            async with plain.delete(url) as answer:
                assert answer.status == 403

    async def test_a_wrong_secret_is_told(self, bucket: StoreSettings) -> None:
        async with client_of(replace(bucket, secret_key="wrong")) as client:
            for asked in (client.put("key", TAIL), client.create_multipart("key"), client.head("key")):
                with pytest.raises(StorageFailure) as told:
                    await asked
                assert told.value.detail["status"] == 403
            with pytest.raises(StartupError, match=r"forbidden: check storage\.access_key"):
                await client.check_at_start()

    async def test_a_missing_bucket_is_told(self, bucket: StoreSettings) -> None:
        async with client_of(replace(bucket, bucket="there-is-none")) as client:
            with pytest.raises(StartupError, match="does not exist: create it"):
                await client.check_at_start()
            with pytest.raises(StorageFailure):
                await client.put("key", TAIL)

    async def test_a_good_bucket_passes(self, client: S3Client) -> None:
        await client.check_at_start()
        await client.check()

    async def test_keys_come_from_the_environment(self, bucket: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        async with client_of(replace(bucket, access_key="", secret_key="")) as client:
            await client.put("key", TAIL)
            assert await client.head("key") == len(TAIL)


class TestHeaders:
    async def test_all_that_protects_a_body_is_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "temporary")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
        async with scripted(Reply(headers={"x-amz-server-side-encryption": "aws:kms"})) as store:
            settings = StoreSettings("bucket", store.url, sse="aws:kms", kms_key="key-1")
            async with client_of(settings) as client:
                await client.put("key", TAIL)
        asked = store.asked[0]
        assert (asked.method, asked.target, asked.body) == ("PUT", "/bucket/key", TAIL)
        assert asked.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert asked.headers["x-amz-security-token"] == "a-token"
        assert asked.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
        signed = asked.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        protecting = {"x-amz-checksum-crc32", "content-length", "host", "x-amz-date", "x-amz-server-side-encryption"}
        assert protecting <= set(signed)

    async def test_a_real_store_confirms_crc_32(self, client: S3Client, s3_server: S3Server, spooled: FileBody) -> None:
        upload = await client.create_multipart("key")
        part = await client.upload_part("key", upload, 1, spooled)
        confirmed = base64.b64encode(zlib.crc32(PART).to_bytes(4, "big")).decode()
        assert part.crc32 == (confirmed if s3_server.confirms_crc32 else "")

    async def test_the_way_leads_over_the_proxy(self) -> None:
        async with scripted(Reply(headers={"Content-Length": "7"})) as proxy:
            settings = StoreSettings("bucket", "http://store.invalid", access_key="a", secret_key="s", proxy=proxy.url)
            async with client_of(settings) as client:
                assert await client.head("key") == 7
        assert proxy.asked[0].target == "http://store.invalid/bucket/key"

    def test_addresses(self) -> None:
        assert StoreSettings("b", "http://s:9000").url("a b/c") == "http://s:9000/b/a%20b/c"
        assert StoreSettings("b", "http://s:9000", path_style=False).url("a") == "http://b.s:9000/a"
        assert StoreSettings("b", region="eu-west-1").url() == "https://s3.eu-west-1.amazonaws.com/b"
