"""Decisions on uploads (OCI distribution specification, "Pushing a blob in chunks")."""

import pytest

from registry.domain.digest import Digest
from registry.domain.upload import ChunkRange, UploadState, check_chunk, check_digest, check_received
from registry.errors import BlobUploadInvalid, DigestInvalid, SizeInvalid, UploadRangeInvalid

STATE = UploadState("id", "repo", "sha256", 10)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("0-0", 0, 0),
        ("0-9", 0, 9),
        ("10-1048575", 10, 1048575),
        (" 3-4 ", 3, 4),
        ("bytes 3-4/5", 3, 4),
        ("bytes=3-4", 3, 4),
        ("bytes 3-4/*", 3, 4),
    ],
)
def test_content_range(header: str, start: int, end: int) -> None:
    found = ChunkRange.parse(header)
    assert (found.start, found.end, found.length) == (start, end, end - start + 1)


@pytest.mark.parametrize(
    "header", ["", "-", "0-", "-5", "0", "a-b", "0-5,7-9", "0--5", "٣-٤", "0x1-0x2", "1.0-2.0", "0-" + "9" * 20, "-1-5"]
)
def test_what_is_no_content_range(header: str) -> None:
    with pytest.raises(BlobUploadInvalid) as refusal:
        ChunkRange.parse(header)
    assert not isinstance(refusal.value, UploadRangeInvalid)


@pytest.mark.parametrize("start", [0, 9, 11, 10**18])
def test_a_chunk_out_of_order_says_where_to_go_on(start: int) -> None:
    with pytest.raises(UploadRangeInvalid) as refusal:
        check_chunk(STATE, ChunkRange(start, start + 4), 5)
    assert refusal.value.offset == 10


def test_a_chunk_that_ends_before_it_begins() -> None:
    with pytest.raises(UploadRangeInvalid):
        check_chunk(STATE, ChunkRange(10, 8), None)


def test_a_chunk_in_order() -> None:
    check_chunk(STATE, ChunkRange(10, 14), 5)
    check_chunk(STATE, ChunkRange(10, 10), 1)
    check_chunk(STATE, ChunkRange(10, 14), None)
    check_chunk(STATE, None, 5)
    check_chunk(STATE, None, None)


@pytest.mark.parametrize("length", [0, 4, 6])
def test_a_length_that_contradicts_the_range(length: int) -> None:
    with pytest.raises(SizeInvalid):
        check_chunk(STATE, ChunkRange(10, 14), length)


def test_what_was_received_has_to_be_what_the_range_said() -> None:
    check_received(ChunkRange(10, 14), 5)
    check_received(None, 7)
    for received in (0, 4, 6):
        with pytest.raises(SizeInvalid):
            check_received(ChunkRange(10, 14), received)


def test_digests_are_compared() -> None:
    check_digest(Digest.of(b"x"), Digest.of(b"x"))
    with pytest.raises(DigestInvalid) as refusal:
        check_digest(Digest.of(b"x"), Digest.of(b"y"))
    assert refusal.value.detail == {"given": str(Digest.of(b"x")), "content": str(Digest.of(b"y"))}
