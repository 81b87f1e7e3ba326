"""Answers of object stores that no real one gives on demand: late, in pieces, unreadable, or none at all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import tempfile
import time
import zlib
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from registry.domain.upload import StagedPart
from registry.errors import BlobDamaged, RegistryError, StartupError, StorageFailure, StoreRefused, Unavailable
from registry.storage.s3 import client as s3_client
from registry.storage.s3 import transport
from registry.storage.s3.client import NoSuchMultipartError, S3Client
from registry.storage.s3.retries import Failure
from registry.storage.s3.settings import StoreSettings
from registry.storage.s3.transport import FileBody
from tests.harness.scripted_store import Reply, scripted
from tests.integration.test_s3_client import PART, TAIL, client_of, content_of
from tests.integration.test_s3_client_faults import SKEW, keyed

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
ERROR = b"<Error><Code>InternalError</Code></Error>"
RESULT = b"<CompleteMultipartUploadResult><ETag>etag</ETag></CompleteMultipartUploadResult>"
ABSENT = Reply(404, headers={"Content-Length": "0"})


class TestCompletions:
    """Amazon says 200 first and what came of it later, with spaces in between (CompleteMultipartUpload)."""

    @pytest.mark.parametrize(
        "pieces",
        [
            (b"   ", 0.1, DECLARATION + ERROR),
            (DECLARATION, 0.1, b"  ", 0.1, ERROR),
            (b" " + DECLARATION + ERROR,),
            (ERROR[:20], 0.1, ERROR[20:]),
        ],
    )
    async def test_that_fail_late_are_made_again(self, pieces: tuple[bytes | float, ...]) -> None:
        async with scripted(Reply(pieces=pieces), Reply(pieces=(b" ", 0.1, DECLARATION + RESULT))) as store:
            async with client_of(keyed(store.url)) as client:
                await client.complete("key", "upload", [StagedPart("etag", 5)], 5)
            assert [asked.method for asked in store.asked] == ["POST", "POST"]

    @pytest.mark.parametrize("content", [b"", b"<html><p>", b"   "])
    async def test_that_say_nothing_are_no_success(self, content: bytes) -> None:
        async with scripted(Reply(pieces=(content,)), ABSENT, Reply(pieces=(RESULT,))) as store:
            async with client_of(keyed(store.url)) as client:
                await client.complete("key", "upload", [StagedPart("etag", 5)], 5)
            assert [asked.method for asked in store.asked] == ["POST", "HEAD", "POST"]

    async def test_that_say_nothing_are_settled_by_what_is_there(self) -> None:
        async with scripted(Reply(), Reply(headers={"Content-Length": "5"})) as store:
            async with client_of(keyed(store.url)) as client:
                await client.complete("key", "upload", [StagedPart("etag", 5)], 5)
            assert [asked.method for asked in store.asked] == ["POST", "HEAD"]

    async def test_that_fail_and_fail_are_settled_by_the_parts(self) -> None:
        failing = Reply(500, (ERROR,))
        async with scripted(failing, failing, failing, ABSENT) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(NoSuchMultipartError):
                await client.complete("key", "upload", [StagedPart("etag", 5)], 5)
        assert [asked.method for asked in store.asked] == ["POST", "POST", "POST", "GET", "HEAD"]

    async def test_of_what_has_gone_are_told_late_too(self) -> None:
        gone = Reply(pieces=(b" ", 0.1, b"<Error><Code>NoSuchUpload</Code></Error>"))
        async with scripted(gone, ABSENT) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(NoSuchMultipartError):
                await client.complete("key", "upload", [StagedPart("etag", 5)], 5)


class TestPieces:
    async def test_of_an_id_are_put_together(self) -> None:
        reply = Reply(pieces=(b"<R><Upl", 0.1, b"oadId>an-id</UploadId></R>"))
        async with scripted(reply) as store, client_of(keyed(store.url)) as client:
            assert await client.create_multipart("key") == "an-id"

    async def test_of_a_list_are_put_together(self) -> None:
        pieces = (b"<R><Upload><Key>key</Key>", 0.1, b"<UploadId>an-id</UploadId></Upload></R>")
        async with scripted(Reply(pieces=pieces)) as store, client_of(keyed(store.url)) as client:
            assert await client.multiparts_of("key") == ["an-id"]

    async def test_of_an_error_are_put_together(self) -> None:
        pieces = (b"<Error><Co", 0.1, b"de>NoSuchUpload</Code></Error>")
        async with scripted(Reply(404, pieces)) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(NoSuchMultipartError):
                await client.upload_part("key", "upload", 1, TAIL)


class TestWhatIsMissing:
    async def test_is_a_failure_that_is_told(self) -> None:
        async with scripted(Reply(pieces=(b"<html>",))) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(StorageFailure, match="without etag"):
                await client.upload_part("key", "upload", 1, TAIL)
            with pytest.raises(StorageFailure, match="cannot be read"):
                await client.multiparts_of("key")

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(416, (b"<Error><Code>InvalidRange</Code></Error>",)),
            Reply(206, (b"0123",), {"Content-Range": "bytes 0-3/4"}),
        ],
        ids=["nothing", "less"],
    )
    async def test_an_object_of_another_size_is_a_damaged_blob(self, reply: Reply) -> None:
        async with scripted(reply) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(BlobDamaged):
                await content_of(client, "key", 0, 10, 10)

    async def test_a_bucket_that_is_gone_says_nothing_of_its_objects(self) -> None:
        reply = Reply(404, (b"<Error><Code>NoSuchBucket</Code></Error>",))
        async with scripted(reply) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(StoreRefused, match="to give an object"):
                await content_of(client, "key", 0, 10, 10)

    async def test_more_than_was_asked_for_is_refused(self) -> None:
        reply = Reply(206, (b"0123456789",), {"Content-Range": "bytes 0-3/10"})
        async with scripted(reply) as store, client_of(keyed(store.url)) as client:
            with pytest.raises(StorageFailure, match="more than it was asked for"):
                await content_of(client, "key", 0, 4, 10)

    async def test_a_body_that_cannot_be_read_is_no_fault_of_the_store(self) -> None:
        with tempfile.TemporaryFile() as file:
            async with scripted(Reply()) as store, client_of(keyed(store.url)) as client:
                with pytest.raises(StorageFailure, match="shorter than"):
                    await client.put("key", FileBody(file.fileno(), 100, 0))


class TestChecksums:
    async def test_a_store_that_confirms_no_crc_32_is_given_md5_from_then_on(self) -> None:
        async with (
            scripted(Reply(headers={"ETag": "etag"}, confirms=False)) as store,
            client_of(keyed(store.url)) as client,
        ):
            await client.put("key", TAIL)
            part = await client.upload_part("key", "upload", 1, PART)
        assert part == StagedPart("etag", len(PART))
        checked = [(asked.method, asked.headers.get("content-md5"), len(asked.body)) for asked in store.asked]
        md5_of_tail = base64.b64encode(hashlib.md5(TAIL, usedforsecurity=False).digest()).decode()
        md5_of_part = base64.b64encode(hashlib.md5(PART, usedforsecurity=False).digest()).decode()
        assert checked == [
            ("PUT", None, len(TAIL)),
            ("PUT", md5_of_tail, len(TAIL)),
            ("PUT", md5_of_part, len(PART)),
        ]


class TestSilence:
    async def test_a_store_that_stops_reading_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "_SILENCE", 0.5)
        with tempfile.TemporaryFile() as file:
            file.write(PART * 4)  # more than the kernel takes for a reader that does not read
            file.flush()
            body = FileBody(file.fileno(), 4 * len(PART), zlib.crc32(PART * 4))
            async with scripted(Reply(reads=False), Reply()) as store, client_of(keyed(store.url)) as client:
                await asyncio.wait_for(client.put("key", body), 10)
                assert len(store.asked[1].body) == body.size

    async def test_readiness_does_not_wait_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(s3_client, "_CHECK_LIMIT", 0.5)
        async with scripted(Reply(reads=False)) as store, client_of(keyed(store.url)) as client:
            begun = time.monotonic()
            with pytest.raises(Unavailable):
                await client.check()
            with pytest.raises(StartupError, match="cannot be reached"):
                await client.check_at_start()
            assert time.monotonic() - begun < 3


class TestStart:
    async def test_a_clock_that_is_wrong_is_corrected(self) -> None:
        """The answer to HEAD has no body that could say RequestTimeTooSkewed."""
        refused = Reply(403, headers={"Date": formatdate(time.time() - SKEW, usegmt=True)})
        async with scripted(refused, Reply()) as store, client_of(keyed(store.url)) as client:
            await client.check_at_start()

    async def test_what_is_forbidden_stays_so_with_a_corrected_clock(self) -> None:
        refused = Reply(403, headers={"Date": formatdate(time.time() - SKEW, usegmt=True)})
        async with scripted(refused) as store:
            async with client_of(keyed(store.url)) as client:
                with pytest.raises(StartupError, match="is forbidden"):
                    await client.check_at_start()
            assert len(store.asked) == 2

    async def test_a_date_that_cannot_be_read_changes_nothing(self) -> None:
        skewed = Reply(403, (b"<Error><Code>RequestTimeTooSkewed</Code></Error>",), {"Date": "nonsense"})
        async with scripted(skewed, Reply()) as store, client_of(keyed(store.url)) as client:
            await client.put("key", TAIL)

    @pytest.mark.parametrize(
        "endpoint",
        [
            "127.0.0.1:9000", "store", "http://", "ftp://store", "http://store:99999", "http://store:x",
            "http://user:password@store", "http://store/path",
        ],
    )  # fmt: skip
    def test_an_endpoint_that_is_no_address_is_told(self, endpoint: str) -> None:
        with pytest.raises(StartupError, match=r"storage\.endpoint: .* is no address") as told:
            S3Client(keyed(endpoint))
        assert "password" not in str(told.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("prefix", prefix) for prefix in ("/", "../other/", "a//b", "a/./b", "a\nb", "x" * 2000)),
            *(("proxy", proxy) for proxy in ("http://proxy:99999", "socks5://proxy:1")),
            *((name, key) for name in ("access_key", "secret_key") for key in ("key\n", " key", "a\nb")),
            ("kms_key", "without sse it would encrypt nothing"),
        ],
    )
    def test_settings_that_cannot_be_meant_are_told(self, name: str, value: str) -> None:
        changed: dict[str, Any] = {name: value}
        with pytest.raises(StartupError, match=rf"^storage\.{name}: ") as told:
            S3Client(replace(keyed("http://127.0.0.1:1"), **changed))
        assert len(str(told.value).splitlines()) == 1

    @pytest.mark.parametrize("prefix", ["", "shoal/", "shoal", "team/registry-1/", ".hidden/"])
    def test_prefixes_that_are_folders_or_not(self, prefix: str) -> None:
        S3Client(replace(keyed("https://127.0.0.1:1/"), prefix=prefix))


class TestCredentials:
    async def test_that_expired_are_looked_for_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "old")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        expired = Reply(400, (b"<Error><Code>ExpiredToken</Code></Error>",))
        async with scripted(expired, Reply()) as store, client_of(StoreSettings("bucket", store.url)) as client:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "new")
            await client.put("key", TAIL)
        credentials = [asked.headers["authorization"].partition("Credential=")[2][:3] for asked in store.asked]
        assert credentials == ["old", "new"]


async def test_one_failure_after_a_quiet_hour_is_not_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(Reply(503)) as store, client_of(keyed(store.url)) as client:
        with pytest.raises(RegistryError):
            await client.check()
        later = time.monotonic() + 3600
        monkeypatch.setattr(time, "monotonic", lambda: later)
        with pytest.raises(Unavailable):
            await client._transport.pause(Failure(503), 0, later, 0.0, "503")
        assert not client.is_down
