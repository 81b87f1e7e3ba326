"""What protects the bytes of an object on their way to the store.

Amazon's S3 user guide, "Checking object integrity": a checksum in the request, which the store compares with what
it received. TCP's own is 16 bits wide.
"""

from __future__ import annotations

import base64
import hashlib
import os

from zlib_ng import zlib_ng

from registry.errors import StorageFailure
from registry.storage.s3.transport import FileBody

HEADER = "x-amz-checksum-crc32"
ALGORITHM = "x-amz-checksum-algorithm"
CRC32 = "CRC32"
_SLICE = 1024 * 1024


def size_of(body: bytes | FileBody) -> int:
    return body.size if isinstance(body, FileBody) else len(body)


def crc32_of(body: bytes | FileBody) -> str:
    """As it stands in a header."""
    crc32 = body.crc32 if isinstance(body, FileBody) else zlib_ng.crc32(body)
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def md5_of(body: bytes | FileBody) -> str:
    """As it stands in Content-MD5. For a thread: it reads the whole body.

    Raises StorageFailure where the bytes of a file are not those whose CRC-32 was taken when they came.
    """
    running = hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes):
        running.update(body)
    else:
        crc32 = 0
        for position in range(0, body.size, _SLICE):
            piece = os.pread(body.fd, min(_SLICE, body.size - position), position)
            running.update(piece)
            crc32 = zlib_ng.crc32(piece, crc32)
        if crc32 != body.crc32:
            raise StorageFailure("the spooled bytes of an upload were changed")
    return base64.b64encode(running.digest()).decode()
