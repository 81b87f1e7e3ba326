"""Complete blobs as files, one each, named by digest."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial

import structlog

from registry.domain.digest import Digest
from registry.errors import BlobDamaged, BlobUnknown, DigestInvalid, StorageFailure, Unavailable
from registry.ports import BlobFile, StoredBlob
from registry.storage.files import DataDirectory, in_thread, translated

log = structlog.get_logger(__name__)


class FileBlobs:
    """BlobStore on a local file system."""

    def __init__(self, directory: DataDirectory, executor: Executor) -> None:
        self._directory = directory
        self._executor = executor

    async def open(self, blob: StoredBlob) -> BlobFile:
        """As BlobStore; raises Unavailable for one that lies in a bucket, which no setting of this node names."""
        if blob.location:
            raise _in_a_bucket(blob)
        digest, size = blob.digest, blob.size
        # Opening is done here and not in a thread: the name is nearly always in the kernel's cache.
        with translated("opening a blob"):
            try:
                descriptor = os.open(path := self._directory.blob(digest), os.O_RDONLY)
            except FileNotFoundError:
                if not path.parent.is_dir():  # every folder is made at the start
                    raise StorageFailure("the folders of blobs are missing: is their disk mounted?") from None
                raise BlobUnknown(
                    "the bytes of this blob are missing; push it again", {"digest": str(digest)}
                ) from None
            found = os.fstat(descriptor)
        if found.st_size > size or not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise BlobDamaged("the bytes of this blob were changed; push it again", {"digest": str(digest)})
        return BlobFile(descriptor, size)

    async def intact(self, blob: StoredBlob) -> bool:
        if blob.location:
            raise _in_a_bucket(blob)
        try:
            return self._directory.blob(blob.digest).stat().st_size == blob.size
        except FileNotFoundError:
            return False
        except OSError as error:
            with translated("looking for a blob"):
                raise error

    async def url(self, blob: StoredBlob) -> None:
        return None

    async def remove(self, digest: Digest) -> None:
        await in_thread(
            self._executor, "removing a blob", partial(self._directory.blob(digest).unlink, missing_ok=True)
        )

    async def everything(self) -> AsyncIterator[Sequence[Digest]]:
        for algorithm, shelf in self._directory.shelves():
            names = await in_thread(self._executor, "listing blobs", partial(os.listdir, shelf))
            yield list(_digests(algorithm, names))


def _in_a_bucket(blob: StoredBlob) -> Unavailable:
    log.error("a blob lies in a bucket: name it in [storage]", digest=str(blob.digest))
    return Unavailable("this node does not read the store of this blob (yet); try again later")


def _digests(algorithm: str, names: list[str]) -> Iterator[Digest]:
    """The digests that files are named after; a file of somebody else's is left alone."""
    for name in names:
        with suppress(DigestInvalid):
            yield Digest.parse(f"{algorithm}:{name}")
