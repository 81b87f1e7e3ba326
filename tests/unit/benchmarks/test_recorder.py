"""What was asked of a store, and for how long somebody waited for it."""

from __future__ import annotations

import pytest
import yarl

from benchmarks.recorder import covered, operation_of


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("PUT", "/bucket/key", "PutObject"),
        ("GET", "/bucket/key/with/parts", "GetObject"),
        ("HEAD", "/bucket/key", "HeadObject"),
        ("POST", "/bucket/key?uploads", "CreateMultipartUpload"),
        ("PUT", "/bucket/key?partNumber=1&uploadId=x", "UploadPart"),
        ("POST", "/bucket/key?uploadId=x", "CompleteMultipartUpload"),
        ("GET", "/bucket/key?uploadId=x", "ListParts"),
        ("GET", "/bucket?list-type=2", "ListObjects"),
        ("GET", "/bucket/?uploads", "ListMultipartUploads"),
        ("HEAD", "/bucket", "HeadBucket"),
        ("POST", "/bucket?delete", "DeleteObjects"),
    ],
)
def test_operation(method: str, path: str, operation: str) -> None:
    assert operation_of(method, yarl.URL(f"http://store{path}")) == operation


def test_copies_are_told_from_writes() -> None:
    assert operation_of("PUT", yarl.URL("http://store/bucket/key"), copies=True) == "CopyObject"
    part = yarl.URL("http://store/bucket/key?partNumber=1&uploadId=x")
    assert operation_of("PUT", part, copies=True) == "UploadPartCopy"


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(1, 3)], 2), ([(1, 3), (2, 4)], 3), ([(1, 5), (2, 3)], 4), ([(1, 2), (4, 6)], 3), ([(3, 1)], 0)],
)
def test_covered(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length
