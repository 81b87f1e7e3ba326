"""What protects the bytes of an object on their way to the store.

Amazon's S3 user guide, "Checking object integrity": a checksum in the request, which the store compares with what
it received. TCP's own is 16 bits wide.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zlib

from registry.storage.s3.transport import FileBody

HEADER = "x-amz-checksum-crc32"
ALGORITHM = "x-amz-checksum-algorithm"
CRC32 = "CRC32"
_SLICE = 1024 * 1024


def size_of(body: bytes | FileBody) -> int:
    return body.size if isinstance(body, FileBody) else len(body)


def crc32_of(body: bytes | FileBody) -> str:
    """As it stands in a header."""
    crc32 = body.crc32 if isinstance(body, FileBody) else zlib.crc32(body)
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def md5_of(body: bytes | FileBody) -> str:
    """As it stands in Content-MD5. For a thread: it reads the whole body."""
    running = hashlib.md5(usedforsecurity=False)
    if isinstance(body, bytes):
        running.update(body)
    else:
        for position in range(0, body.size, _SLICE):
            running.update(os.pread(body.fd, min(_SLICE, body.size - position), position))
    return base64.b64encode(running.digest()).decode()
