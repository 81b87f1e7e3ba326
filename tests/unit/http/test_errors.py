"""From an error to its answer."""

import json

import pytest

from registry import errors
from registry.errors import RegistryError
from registry.http.errors import response_of, status_of


def every_kind(kind: type[RegistryError] = RegistryError) -> list[type[RegistryError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every_kind(child))]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.BlobUnknown("x"), 404, "BLOB_UNKNOWN"),
        (errors.BlobUploadInvalid("x"), 400, "BLOB_UPLOAD_INVALID"),
        (errors.BlobUploadUnknown("x"), 404, "BLOB_UPLOAD_UNKNOWN"),
        (errors.UploadRangeInvalid("x", 5), 416, "BLOB_UPLOAD_INVALID"),
        (errors.DigestInvalid("x"), 400, "DIGEST_INVALID"),
        (errors.ManifestBlobUnknown("x"), 404, "MANIFEST_BLOB_UNKNOWN"),
        (errors.ManifestInvalid("x"), 400, "MANIFEST_INVALID"),
        (errors.ManifestTooLarge("x"), 413, "MANIFEST_INVALID"),
        (errors.ManifestUnknown("x"), 404, "MANIFEST_UNKNOWN"),
        (errors.NameInvalid("x"), 400, "NAME_INVALID"),
        (errors.NameUnknown("x"), 404, "NAME_UNKNOWN"),
        (errors.SizeInvalid("x"), 400, "SIZE_INVALID"),
        (errors.BlobInUse("x"), 405, "DENIED"),
        (errors.Denied("x"), 403, "DENIED"),
        (errors.MethodNotAllowed("GET", ("PUT",)), 405, "UNSUPPORTED"),
        (errors.StorageFull("x"), 507, "STORAGE_FULL"),
        (errors.StorageFailure("x"), 500, "STORAGE_FAILURE"),
        (errors.Unavailable("x"), 503, "UNAVAILABLE"),
        (errors.RangeUnsatisfiable(5), 416, "UNSUPPORTED"),
    ],
)
def test_status_and_code(error: RegistryError, status: int, code: str) -> None:
    response = response_of(error)
    assert (response.status, response.content_type) == (status, "application/json")
    assert isinstance(response.body, bytes)
    (entry,) = json.loads(response.body)["errors"]
    assert (entry["code"], entry["message"]) == (code, error.message)
    assert entry.get("detail", {}) == error.detail


def test_every_kind_of_error_has_a_status_of_its_own_choice() -> None:
    for kind in every_kind():
        if kind is RegistryError:
            continue
        error = kind.__new__(kind)
        RegistryError.__init__(error, "x")
        assert status_of(error) < 500 or issubclass(
            kind, (errors.StorageFull, errors.StorageFailure, errors.Unavailable, errors.UpstreamFailed)
        ), kind


def test_headers_that_help() -> None:
    assert response_of(errors.MethodNotAllowed("GET", ("PATCH", "PUT"))).headers["Allow"] == "PATCH, PUT"
    assert response_of(errors.UploadRangeInvalid("x", 10)).headers["Range"] == "0-9"
    assert response_of(errors.RangeUnsatisfiable(5)).headers["Content-Range"] == "bytes */5"
    assert int(response_of(errors.Unavailable("x")).headers["Retry-After"]) > 0
