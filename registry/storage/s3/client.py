"""The operations of the S3 protocol that Shoal needs, by the names of Amazon's S3 API reference.

Nothing here depends on listing a bucket, on what an ETag looks like, or on conditional writes: stores that are
called compatible differ in these.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote
from xml.sax.saxutils import escape

from registry.domain.upload import StagedPart
from registry.errors import BlobDamaged, StartupError, StorageFailure, StoreRefused, Unavailable
from registry.storage.s3 import checksums
from registry.storage.s3.retries import Failure
from registry.storage.s3.settings import StoreSettings
from registry.storage.s3.signing import Signer
from registry.storage.s3.transport import (
    BROKEN,
    Answer,
    FileBody,
    RefusedError,
    Transport,
    UntrustedError,
    name_of,
    parsed,
)

_SSE = "x-amz-server-side-encryption"
_READ_BUDGET = 15.0  # seconds
_CHECK_BUDGET = 2.0  # seconds
_CHECK_LIMIT = 5.0  # seconds
_SETTLED_AFTER = 2  # attempts


class NoSuchObjectError(Exception):
    """There is no object of this key."""


class NoSuchMultipartError(Exception):
    """The multipart upload has ended, or there never was one."""


class S3Client:
    """Objects of one bucket by key. Every method raises StorageFailure, and Unavailable where the store is down."""

    def __init__(self, settings: StoreSettings) -> None:
        """Raises StartupError."""
        self._settings = settings.checked()
        self._signer = Signer(settings)
        self._transport = Transport(settings, self._signer)
        self._checks_crc32 = True
        self._encrypts = False

    async def close(self) -> None:
        await self._transport.close()

    @property
    def is_down(self) -> bool:
        """Whether requests have been failing, so that beginning something new makes no sense."""
        return self._transport.is_down

    async def put(self, key: str, body: bytes | FileBody) -> None:
        """PutObject."""
        try:
            answer, _ = await self._checked(key, {}, self._encryption(), body)
        except RefusedError as error:
            raise error.as_failure("an object") from error
        self._check_encrypted(answer)

    async def copy(self, bucket: str, source: str, key: str) -> bool:
        """CopyObject from another bucket of the store; False where the store refuses it: it has no such object, our
        credentials may not read it, or it is larger than 5 GiB. For taking over what was there before Shoal alone.
        """
        headers = {"x-amz-copy-source": quote(f"/{bucket}/{source}"), **self._encryption()}
        try:
            answer = await self._transport.call("PUT", key, headers=headers)
        except (RefusedError, Unavailable):  # a large copy can be silent for longer than an answer may be
            return False
        self._check_encrypted(answer)
        root = parsed(answer.content)  # an error can come with the status 200
        return root is not None and name_of(root) == "CopyObjectResult"

    async def create_multipart(self, key: str) -> str:
        """CreateMultipartUpload; returns its id."""
        try:
            protected = {checksums.ALGORITHM: checksums.CRC32} if self._checks_crc32 else {}
            answer = await self._transport.call("POST", key, {"uploads": ""}, {**protected, **self._encryption()})
        except RefusedError as error:
            raise error.as_failure("to begin an upload") from error
        if not (upload_id := answer.text("UploadId")):
            raise StorageFailure("the object store began an upload without an id")
        return upload_id

    async def upload_part(self, key: str, multipart: str, number: int, body: bytes | FileBody) -> StagedPart:
        """UploadPart. Raises NoSuchMultipartError."""
        query = {"partNumber": str(number), "uploadId": multipart}
        try:
            answer, crc32 = await self._checked(key, query, {}, body)
        except RefusedError as error:
            if error.failure.code == "NoSuchUpload":
                raise NoSuchMultipartError from error
            raise error.as_failure("a part of an upload") from error
        return StagedPart(answer.header("etag"), checksums.size_of(body), crc32)

    async def _checked(
        self, key: str, query: dict[str, str], headers: dict[str, str], body: bytes | FileBody
    ) -> tuple[Answer, str]:
        """PUT a body so that the store compares it with a checksum; the answer, and the CRC-32 if that was it.

        A store that knows CRC-32 repeats it in its answer. One that does not is given MD5, which all of them
        check and which takes several times as long.
        """
        if self._checks_crc32:
            crc32 = checksums.crc32_of(body)
            answer = await self._transport.call("PUT", key, query, {**headers, checksums.HEADER: crc32}, body)
            if answer.headers.get(checksums.HEADER) == crc32:
                return answer, crc32
            self._checks_crc32 = False
        md5 = await asyncio.to_thread(checksums.md5_of, body)
        return await self._transport.call("PUT", key, query, {**headers, "Content-MD5": md5}, body), ""

    async def complete(self, key: str, multipart: str, parts: Sequence[StagedPart], size: int) -> None:
        """CompleteMultipartUpload. `size` of the whole settles whether an attempt succeeded whose answer was lost.

        Raises NoSuchMultipartError.
        """
        await self._complete(key, multipart, parts, size)
        if self._settings.sse and not self._encrypts:  # the answer to CreateMultipartUpload does not tell everywhere
            try:
                self._check_encrypted(await self._transport.call("HEAD", key))
            except RefusedError as error:
                raise error.as_failure("to look at an object") from error

    async def _complete(self, key: str, multipart: str, parts: Sequence[StagedPart], size: int) -> None:
        listed = "".join(_listed(number, part) for number, part in enumerate(parts, 1))
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        started, attempt = time.monotonic(), 0
        while True:
            try:
                answer = await self._transport.call("POST", key, {"uploadId": multipart}, {}, body, budget=0.0)
            except Unavailable as error:
                if attempt >= _SETTLED_AFTER and await self._is_gone(key, multipart):
                    answer = Answer(404, {}, b"")
                else:
                    await self._transport.pause(Failure(), attempt, started, 60.0, str(error.detail["error"]))
                    attempt += 1
                    continue
            except RefusedError as error:
                if error.failure.code != "NoSuchUpload":
                    raise error.as_failure("to complete an upload") from error
                answer = Answer(error.failure.status, {}, b"")
            root = parsed(answer.content)
            if root is not None and name_of(root) == "CompleteMultipartUploadResult":
                return
            # An error can come with the status 200, after the head was sent; an answer that says neither is no success.
            code = answer.text("Code")
            if code in ("", "NoSuchUpload"):
                if await self.head(key) == size:
                    return
                if code or answer.status == 404:
                    raise NoSuchMultipartError
            await self._transport.pause(Failure(500, code), attempt, started, 60.0, code or "no result")
            attempt += 1

    async def _is_gone(self, key: str, multipart: str) -> bool:
        """ListParts: whether an upload has ended, where completing it fails and fails. Ceph says InternalError then."""
        try:
            await self._transport.call("GET", key, {"max-parts": "1", "uploadId": multipart}, budget=0.0)
        except RefusedError as error:
            return error.failure.status == 404
        except Unavailable:
            return False
        return False

    async def abort(self, key: str, multipart: str) -> None:
        """AbortMultipartUpload; no error where there is none."""
        try:
            await self._transport.call("DELETE", key, {"uploadId": multipart})
        except RefusedError as error:
            if error.failure.status != 404:
                raise error.as_failure("to give up an upload") from error

    async def multiparts_of(self, key: str) -> list[str]:
        """ListMultipartUploads of one key: the ids. For clearing up alone; where a store lists none, nothing breaks."""
        try:
            answer = await self._transport.call("GET", "", {"prefix": f"{self._settings.prefix}{key}", "uploads": ""})
        except RefusedError as error:
            raise error.as_failure("to list unfinished uploads") from error
        if (root := parsed(answer.content)) is None:
            raise StorageFailure("the object store's list of unfinished uploads cannot be read")
        uploads = (
            {name_of(child): child.text or "" for child in found} for found in root if name_of(found) == "Upload"
        )
        wanted = f"{self._settings.prefix}{key}"
        return [upload["UploadId"] for upload in uploads if upload.get("Key") == wanted and "UploadId" in upload]

    async def delete(self, key: str) -> None:
        """DeleteObject; no error where there is none."""
        try:
            await self._transport.call("DELETE", key)
        except RefusedError as error:
            if error.failure.status != 404:
                raise error.as_failure("to remove an object") from error

    async def head(self, key: str) -> int | None:
        """HeadObject: the size, None where there is no object."""
        try:
            answer = await self._transport.call("HEAD", key, budget=_READ_BUDGET)
        except RefusedError as error:
            if error.failure.status == 404:
                return None
            raise error.as_failure("to look at an object") from error
        return int(answer.header("content-length"))

    async def read(self, key: str, start: int, stop: int, size: int) -> AsyncIterator[bytes]:
        """GetObject: the bytes from `start` to before `stop` of an object of `size`, going on after a break.

        Raises NoSuchObjectError, BlobDamaged where the object has another size.
        """
        position, attempt, started = start, 0, time.monotonic()
        budget = 0.0 if self._transport.is_down else _READ_BUDGET
        while position < stop:
            headers = {"Range": f"bytes={position}-{stop - 1}"}
            try:
                async with self._transport.read(key, headers) as response:
                    _check_range(response.status, response.headers.get("Content-Range", ""), position, size)
                    async for chunk in response.content.iter_any():
                        position += len(chunk)
                        if position > stop:
                            raise StorageFailure("the object store gave more than it was asked for", {"key": key})
                        attempt, started, budget = 0, time.monotonic(), _READ_BUDGET
                        yield chunk
                failure, cause = Failure(), "the answer ended too early"
            except BROKEN as error:
                failure, cause = Failure(), str(error) or repr(error)
            except RefusedError as error:
                if error.failure.status == 404 and error.failure.code != "NoSuchBucket":
                    raise NoSuchObjectError from error
                if error.failure.status == 416:
                    raise _changed({"range": headers["Range"], "size": size}) from error
                if not error.failure.passes:
                    raise error.as_failure("to give an object") from error
                failure, cause = error.failure, str(error)
            if position < stop:
                await self._transport.pause(failure, attempt, started, budget, cause)
                attempt += 1

    async def presigned(self, key: str, seconds: int) -> str:
        return await self._signer.presigned(self._settings.url(key), seconds)

    async def check(self) -> None:
        """HeadBucket."""
        try:
            await self._head_bucket()
        except RefusedError as error:
            raise error.as_failure("to show its bucket") from error

    async def check_at_start(self) -> None:
        """Raises StartupError, which says what to do, where the bucket cannot be used."""
        where = f"the bucket {self._settings.bucket} at {self._settings.endpoint or 'Amazon S3'}"
        try:
            await self._head_bucket()
        except RefusedError as error:
            raise StartupError(f"{where} {self._refusal(error.failure)}") from error
        except UntrustedError as error:
            raise StartupError(
                f"{where} has a certificate that is not to be trusted: name the file of the CA that signed it "
                f"(storage.ca_file), and the host as it says (storage.endpoint): {error.detail['error']}"
            ) from error
        except Unavailable as error:
            places = "storage.endpoint and storage.proxy" if self._settings.proxy else "storage.endpoint"
            raise StartupError(
                f"{where} cannot be reached: check {places}, and that the store runs ({error.detail['error']})"
            ) from error

    def _refusal(self, failure: Failure) -> str:
        """What is wrong with the bucket, and what to do."""
        if failure.region not in ("", self._settings.region):
            return f"is in the region {failure.region}: write that in storage.region"
        match failure.status:
            case 404:
                return "does not exist: create it, or name another (storage.bucket)"
            case 401 | 403:
                return "is forbidden: check storage.access_key, storage.secret_key and the bucket's policy"
            case 400:
                return "cannot be used (status 400): check storage.region, and whether the credentials have expired"
            case status:
                return f"cannot be used (status {status}): check storage.region and storage.endpoint"

    async def _head_bucket(self) -> None:
        """Raises RefusedError, and Unavailable soon, also where a store takes the request and says nothing."""
        try:
            async with asyncio.timeout(_CHECK_LIMIT):
                await self._transport.call("HEAD", "", budget=_CHECK_BUDGET)
        except TimeoutError as error:
            said = {"error": f"no answer within {_CHECK_LIMIT:g} s"}
            raise Unavailable("the object store does not answer; try again later", said) from error

    def _encryption(self) -> dict[str, str]:
        if not self._settings.sse:
            return {}
        headers = {_SSE: self._settings.sse}
        if self._settings.kms_key:
            headers[f"{_SSE}-aws-kms-key-id"] = self._settings.kms_key
        return headers

    def _check_encrypted(self, answer: Answer) -> None:
        """Raises StorageFailure. There are stores that take the wish for encryption, and do not encrypt."""
        if self._settings.sse and answer.headers.get(_SSE) != self._settings.sse:
            raise StoreRefused("the object store does not encrypt as storage.sse says", {"sse": self._settings.sse})
        self._encrypts = True


def _listed(number: int, part: StagedPart) -> str:
    crc32 = f"<ChecksumCRC32>{part.crc32}</ChecksumCRC32>" if part.crc32 else ""
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag>{crc32}</Part>"


def _check_range(status: int, content_range: str, position: int, size: int) -> None:
    """The answer to a Range request has to be what was asked, of an object that has the size it should have."""
    begins, total = content_range.partition("-")[0], content_range.rpartition("/")[2]
    if status != 206 or begins != f"bytes {position}":
        raise StorageFailure("the object store gave another range than it was asked for", {"range": content_range[:64]})
    if total not in (str(size), "*"):
        raise _changed({"range": content_range[:64], "size": size})


def _changed(said: dict[str, object]) -> BlobDamaged:
    return BlobDamaged("an object in the store is not what was put there", said)
