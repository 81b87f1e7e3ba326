"""Upload sessions in files, after a restart and after a crash of the machine."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.domain.digest import Digest
from registry.errors import BlobUploadUnknown
from registry.storage import hashing
from registry.storage.files import DataDirectory
from registry.storage.uploads_fs import FileUploads

CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path, reserve=0)
    directory.prepare()
    return directory


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def begun(uploads: FileUploads, size: int) -> str:
    state = await uploads.begin("repo", "sha256")
    async with uploads.open("repo", state.id) as upload:
        await upload.write([CONTENT[:size]])
        await upload.checkpoint()
    return state.id


async def finish(uploads: FileUploads, upload_id: str) -> None:
    """Go on where the store says, and see that the digest is right."""
    async with uploads.open("repo", upload_id) as upload:
        await upload.write([CONTENT[upload.state.offset :]])
        assert await upload.digest() == Digest.of(CONTENT)


@pytest.mark.parametrize("boot", ["one", "another"])
async def test_goes_on_in_another_process_and_after_another_boot(
    directory: DataDirectory, executor: ThreadPoolExecutor, boot: str
) -> None:
    upload_id = await begun(FileUploads(directory, executor, "one"), 3_000_000)
    uploads = FileUploads(directory, executor, boot)
    assert (await uploads.state("repo", upload_id)).offset == 3_000_000
    await finish(uploads, upload_id)


async def test_goes_on_without_a_state_of_the_hash(
    directory: DataDirectory, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_functions", lambda _algorithm: None)
    uploads = FileUploads(directory, executor, "one")
    upload_id = await begun(uploads, 3_000_000)
    assert (await uploads.state("repo", upload_id)).offset == 3_000_000
    await finish(uploads, upload_id)


@pytest.mark.parametrize("boot", ["one", "another"])
@pytest.mark.parametrize("kept", [0, 1, 2_999_999])
async def test_bytes_that_are_lost_make_the_offset_smaller(
    directory: DataDirectory, executor: ThreadPoolExecutor, boot: str, kept: int
) -> None:
    upload_id = await begun(FileUploads(directory, executor, "one"), 3_000_000)
    (directory.uploads / f"{upload_id}.data").write_bytes(CONTENT[:kept])
    uploads = FileUploads(directory, executor, boot)
    assert (await uploads.state("repo", upload_id)).offset <= kept
    await finish(uploads, upload_id)


async def test_bytes_that_a_power_loss_left_as_zeros_are_not_trusted(
    directory: DataDirectory, executor: ThreadPoolExecutor
) -> None:
    upload_id = await begun(FileUploads(directory, executor, "one"), 3_000_000)
    damaged = CONTENT[:1_000_000] + bytes(2_000_000)
    (directory.uploads / f"{upload_id}.data").write_bytes(damaged)
    uploads = FileUploads(directory, executor, "another")
    assert (await uploads.state("repo", upload_id)).offset <= 1_000_000
    await finish(uploads, upload_id)


@pytest.mark.parametrize("record", [b"", b"{}", b"\0" * 100, b"[]", b"null", b'{"repository": "repo"}'])
async def test_a_record_that_a_power_loss_emptied_is_no_session_and_is_cleared_up(
    directory: DataDirectory, executor: ThreadPoolExecutor, record: bytes
) -> None:
    uploads = FileUploads(directory, executor, "one")
    upload_id = await begun(uploads, 100)
    (directory.uploads / f"{upload_id}.state").write_bytes(record)
    with pytest.raises(BlobUploadUnknown):
        await uploads.state("repo", upload_id)
    assert await uploads.active_repositories(0) == frozenset()
    assert [found.upload_id async for found in uploads.abandoned(2**40)] == [upload_id]
    assert list(directory.uploads.iterdir()) == []
