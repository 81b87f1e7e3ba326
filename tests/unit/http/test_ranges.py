"""The Range header (RFC 9110, section 14)."""

import pytest

from registry.errors import RangeUnsatisfiable
from registry.http.ranges import ByteRange, parse

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=999-999", [(999, 1000)]),
        ("bytes=500-", [(500, 1000)]),
        ("bytes=0-", [(0, 1000)]),
        ("bytes=-1", [(999, 1000)]),
        ("bytes=-500", [(500, 1000)]),
        ("bytes=-1000", [(0, 1000)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=990-5000", [(990, 1000)]),
        ("bytes=0-9223372036854775807", [(0, 1000)]),
        ("BYTES=1-2", [(1, 3)]),
        ("bytes= 1-2 , 5-6", [(1, 3), (5, 7)]),
        ("bytes=1-2,,5-6,", [(1, 3), (5, 7)]),
        ("bytes=0-1,-2", [(0, 2), (998, 1000)]),
        ("bytes=5-6,0-1", [(5, 7), (0, 2)]),
        ("bytes=0-1,2000-3000", [(0, 2)]),
    ],
)
def test_what_is_asked(header: str, wanted: list[tuple[int, int]]) -> None:
    assert parse(header, SIZE) == [ByteRange(*item) for item in wanted]


@pytest.mark.parametrize("header", [None, "", "bytes", "items=0-5", "bytes 0-5", "bytes=0-999,0-999"])
def test_the_whole(header: str | None) -> None:
    assert parse(header, SIZE) == []


@pytest.mark.parametrize(
    "header",
    [
        "bytes=1000-",
        "bytes=1000-1001",
        "bytes=5000-6000,7000-",
        "bytes=-0",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-5-6",
        "bytes=--5",
        "bytes=+1-2",
        "bytes=٣-٤",
        "bytes=0-1,x",
        "bytes=0-" + "9" * 30,
        "bytes=" + ",".join(["0-0"] * 65),
    ],
)
def test_what_cannot_be_given(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable) as refusal:
        parse(header, SIZE)
    assert refusal.value.size == SIZE


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_of_nothing(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable):
        parse(header, 0)


def test_the_header_of_the_answer() -> None:
    assert ByteRange(10, 20).content_range(100) == "bytes 10-19/100"
    assert ByteRange(10, 20).length == 10
