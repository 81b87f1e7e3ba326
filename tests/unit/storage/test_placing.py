"""Blobs that are placed from elsewhere: what goes wrong is told as an error of ours."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.domain.digest import Digest
from registry.errors import StorageFailure, StorageFull, Unavailable
from registry.ports import StoredBlob
from registry.storage.files import DataDirectory
from registry.storage.place_files import FilePlacer
from registry.storage.place_objects import ObjectPlacer
from registry.storage.s3.client import S3Client
from registry.storage.s3.settings import StoreSettings
from tests.harness.content import random_bytes
from tests.harness.scripted_store import Reply, scripted

CONTENT = random_bytes(8 * 1024 * 1024 + 1)  # a part and one byte
BLOB = StoredBlob(Digest.of(CONTENT), len(CONTENT), "blobs/key")
BEGUN = Reply(pieces=(b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>",))
GONE = Reply(404, (b"<Error><Code>NoSuchUpload</Code></Error>",))
PART = Reply(headers={"ETag": '"e"'})


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path, 0)
    directory.prepare()
    return directory


async def chunks() -> AsyncIterator[bytes]:
    yield CONTENT


@pytest.mark.parametrize("replies", [(BEGUN, GONE), (BEGUN, PART, PART, GONE)], ids=["a part", "the end"])
async def test_an_upload_that_the_store_has_given_up_can_be_tried_again(
    replies: tuple[Reply, ...], directory: DataDirectory, executor: ThreadPoolExecutor
) -> None:
    async with scripted(*replies) as store:
        client = S3Client(StoreSettings("bucket", store.url, access_key="key", secret_key="secret"))
        try:
            with pytest.raises(Unavailable) as caught:
                await ObjectPlacer(client, directory, executor).place(BLOB, chunks())
        finally:
            await client.close()
    assert caught.value.with_cause.endswith("(NoSuchUpload)")


async def test_a_disk_that_takes_no_spool_is_told(directory: DataDirectory, executor: ThreadPoolExecutor) -> None:
    directory.uploads.rmdir()
    client = S3Client(StoreSettings("bucket", "http://127.0.0.1:1", access_key="key", secret_key="secret"))
    with pytest.raises(StorageFailure, match="spooling"):
        await ObjectPlacer(client, directory, executor).place(BLOB, chunks())
    await client.close()


async def test_a_disk_is_asked_for_its_room_in_a_thread_and_may_fail(
    directory: DataDirectory, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system can take long to answer."""
    asked: list[threading.Thread] = []

    def failing(_path: Path) -> os.statvfs_result:
        asked.append(threading.current_thread())
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patched:
        patched.setattr("registry.storage.files.os.statvfs", failing)
        with pytest.raises(StorageFailure):
            await FilePlacer(directory, executor).place(StoredBlob(BLOB.digest, BLOB.size), chunks())
    assert threading.current_thread() not in asked
    with pytest.raises(StorageFull):
        await FilePlacer(DataDirectory(directory.root, 2**62), executor).place(BLOB, chunks())


async def test_a_disk_is_tried_and_nothing_left(directory: DataDirectory, executor: ThreadPoolExecutor) -> None:
    before = sorted(directory.root.rglob("*"))
    await FilePlacer(directory, executor).check()
    assert sorted(directory.root.rglob("*")) == before
    (directory.root / "blobs").rename(directory.root / "not-mounted")
    with pytest.raises(StorageFailure):
        await FilePlacer(directory, executor).check()
    assert list(directory.uploads.iterdir()) == []
