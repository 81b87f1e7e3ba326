"""Errors as the specification wants them, and the one table from error to status."""

from __future__ import annotations

import json
import math

from aiohttp import web

from registry import errors
from registry.errors import MethodNotAllowed, RegistryError, UploadRangeInvalid

# The most special class first: the first one that fits decides.
_STATUS: tuple[tuple[type[RegistryError], int], ...] = (
    (errors.UploadRangeInvalid, 416),
    (errors.UploadBusy, 409),
    (errors.RequestTimeout, 408),
    (errors.ManifestTooLarge, 413),
    (errors.MethodNotAllowed, 405),
    (errors.MediaTypeUnsupported, 415),
    (errors.RequestInvalid, 400),
    (errors.EndpointUnknown, 404),
    (errors.BlobInUse, 405),
    (errors.ReadOnly, 405),
    (errors.BlobUnknown, 404),
    (errors.BlobUploadInvalid, 400),
    (errors.BlobUploadUnknown, 404),
    (errors.DigestInvalid, 400),
    (errors.ManifestBlobUnknown, 404),
    (errors.ManifestInvalid, 400),
    (errors.ManifestUnknown, 404),
    (errors.NameInvalid, 400),
    (errors.NameUnknown, 404),
    (errors.TagInvalid, 400),
    (errors.RequestTooLarge, 413),
    (errors.SizeInvalid, 400),
    (errors.PaginationInvalid, 400),
    (errors.RangeUnsatisfiable, 416),
    (errors.LogForked, 409),
    (errors.PromotionRefused, 409),
    (errors.SucceededAlready, 409),
    (errors.LogCutOff, 410),
    (errors.Denied, 403),
    (errors.Unauthorized, 401),
    (errors.TooManyRequests, 429),
    (errors.AccessUnknown, 404),
    (errors.AccessExists, 409),
    (errors.Unsupported, 405),
    (errors.StorageFull, 507),
    (errors.StorageFailure, 500),
    (errors.Unavailable, 503),
    (errors.UpstreamTimedOut, 504),
    (errors.UpstreamFailed, 502),
)


def status_of(error: RegistryError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def body_of(error: RegistryError) -> bytes:
    """The JSON document of "Error Codes" in the OCI distribution specification."""
    entry: dict[str, object] = {"code": error.code, "message": error.message}
    if error.detail:
        entry["detail"] = error.detail
    return json.dumps({"errors": [entry]}).encode()


def response_of(error: RegistryError) -> web.Response:
    response = web.Response(status=status_of(error), body=body_of(error), content_type="application/json")
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, errors.BlobInUse | errors.ReadOnly):
        response.headers["Allow"] = "GET, HEAD"
    if isinstance(error, errors.Unavailable):
        response.headers["Retry-After"] = "5"
    if isinstance(error, errors.Unauthorized) and error.challenge:
        response.headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, errors.TooManyRequests):
        response.headers["Retry-After"] = str(math.ceil(error.after))
    if isinstance(error, UploadRangeInvalid):
        response.headers["Range"] = f"0-{max(error.offset - 1, 0)}"
    if isinstance(error, errors.RangeUnsatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.size}"
    return response
