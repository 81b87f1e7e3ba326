"""Where the credentials of an object store come from, and what happens when they expire."""

from __future__ import annotations

import asyncio
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from registry.errors import StartupError, StorageFailure
from registry.storage.s3.client import S3Client
from registry.storage.s3.settings import StoreSettings
from tests.harness.metadata_service import MetadataService
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.scripted_store import Reply, scripted
from tests.harness.server import ShoalServer
from tests.integration.test_object_store import SMALL, blob_url, push
from tests.integration.test_s3_client import TAIL, client_of

SOURCES = ["environment", "profile", "container", "instance", "web identity"]
FOUND = Reply(headers={"Content-Length": "5"})


@pytest.fixture
def bucket(s3_server: S3Server) -> StoreSettings:
    """Settings without keys."""
    return replace(s3_server.bucket(f"keys-{uuid.uuid4()}"), access_key="", secret_key="")


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with MetadataService() as found:
        yield found


@pytest.fixture(autouse=True)
def no_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine has of its own is not asked."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "ROLE_ARN"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def variables(source: str, service: MetadataService, directory: Path) -> dict[str, str]:
    match source:
        case "environment":
            return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        case "profile":
            keys = f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
            (directory / "keys").write_text(f"[store]\n{keys}")
            return {"AWS_SHARED_CREDENTIALS_FILE": str(directory / "keys"), "AWS_PROFILE": "store"}
        case "container":
            return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{service.url}/keys"}
        case "instance":
            return {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url}
        case _:
            (directory / "token").write_text("who I am")
            identity = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(directory / "token"), "AWS_ROLE_SESSION_NAME": "shoal"}
            return {**identity, "AWS_ROLE_ARN": "arn:aws:iam::1:role/shoal", "AWS_ENDPOINT_URL_STS": service.url}


class TestSources:
    @pytest.mark.parametrize("source", SOURCES)
    async def test_each_is_enough(
        self, bucket: StoreSettings, service: MetadataService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        source: str,
    ) -> None:  # fmt: skip
        for name, value in variables(source, service, tmp_path).items():
            monkeypatch.setenv(name, value)
        async with client_of(bucket) as client:
            await client.check_at_start()
            await client.put("key", TAIL)
            url = await client.presigned("key", 60)
            assert await asyncio.to_thread(_content, url) == TAIL
        assert service.given == (0 if source in ("environment", "profile") else 1)

    async def test_settings_come_first(self, bucket: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        async with client_of(replace(bucket, access_key=ACCESS_KEY, secret_key=SECRET_KEY)) as client:
            await client.check_at_start()
        async with client_of(bucket) as client:
            with pytest.raises(StartupError, match="is forbidden"):
                await client.check_at_start()

    def test_none_is_told(self, bucket: StoreSettings) -> None:
        with pytest.raises(StartupError, match="needs credentials"):
            S3Client(bucket)

    def test_a_profile_that_is_none_is_told(self, bucket: StoreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(StartupError, match="nobody"):
            S3Client(bucket)

    @pytest.mark.parametrize("given", ["SHOAL_STORAGE__", "AWS_"])
    def test_variables_of_a_server(self, bucket: StoreSettings, tmp_path: Path, given: str) -> None:
        names = {"SHOAL_STORAGE__": ("ACCESS_KEY", "SECRET_KEY"), "AWS_": ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
        keys = dict(zip(names[given], (ACCESS_KEY, SECRET_KEY), strict=True))
        place = {"KIND": "s3", "ENDPOINT": bucket.endpoint, "BUCKET": bucket.bucket}
        env = {f"SHOAL_STORAGE__{name}": value for name, value in place.items()}
        with ShoalServer(tmp_path / "data", env={**env, **{given + name: key for name, key in keys.items()}}) as shoal:
            digest = push(shoal, SMALL)
            assert requests.get(blob_url(shoal, digest), timeout=30).content == SMALL


class TestExpiry:
    @pytest.fixture(autouse=True)
    def container(self, service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/keys")

    async def test_new_ones_come_in_time_and_no_address_waits_for_them(
        self, bucket: StoreSettings, service: MetadataService
    ) -> None:
        service.lifetime = 300.0
        async with client_of(bucket) as client:
            await client.check_at_start()
            given, service.delay, service.lifetime, started = service.given, 0.7, 7200.0, time.monotonic()
            await client.presigned("key", 60)
            await client.presigned("key", 60)
            assert time.monotonic() - started < 0.5
            await asyncio.sleep(1.0)
            await client.presigned("key", 60)
            assert service.given <= given + 1
            assert time.monotonic() - started < 1.6

    async def test_those_with_hardly_any_time_left_are_waited_for(self, service: MetadataService) -> None:
        service.lifetime, service.tokens = 30.0, ["one", "two"]
        async with scripted(FOUND) as store, client_of(StoreSettings("bucket", store.url)) as client:
            assert await client.head("key") == 5
        assert store.asked[0].headers["x-amz-security-token"] == "two"

    @pytest.mark.parametrize("refusal", [Reply(400), Reply(403)])
    async def test_is_seen_in_an_answer_that_says_nothing(self, service: MetadataService, refusal: Reply) -> None:
        service.tokens = ["one", "two"]
        async with scripted(refusal, FOUND) as store, client_of(StoreSettings("bucket", store.url)) as client:
            assert await client.head("key") == 5
        assert [asked.headers["x-amz-security-token"] for asked in store.asked] == ["one", "two"]

    async def test_many_requests_renew_once(self, service: MetadataService) -> None:
        service.tokens = ["one", "two"]
        replies = (Reply(403), Reply(403), Reply(403), FOUND)
        async with scripted(*replies) as store, client_of(StoreSettings("bucket", store.url)) as client:
            assert await asyncio.gather(*(client.head("key") for _ in range(3))) == [5, 5, 5]
        assert service.given == 2
        assert len(store.asked) == 6

    async def test_credentials_that_stay_the_same_are_tried_once(self, service: MetadataService) -> None:
        service.tokens = ["one"]
        async with scripted(Reply(403)) as store, client_of(StoreSettings("bucket", store.url)) as client:
            with pytest.raises(StorageFailure):
                await client.head("key")
        assert (len(store.asked), service.given) == (1, 2)


def _content(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own address
        return bytes(answer.read())
