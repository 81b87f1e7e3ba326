"""Taking over files of another registry as blobs: a hard link instead of a copy."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import uuid
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from registry.domain.changes import LinkBlob
from registry.domain.digest import Digest
from registry.domain.upload import check_digest
from registry.ports import Changes, Original
from registry.storage import files, hashing
from registry.storage.file_upload import remove_files
from registry.storage.files import DataDirectory, in_thread, translate
from registry.storage.upload_record import UploadRecord

_READ_SIZE = 1024 * 1024
# Another file system, no right to link a file of another owner, too many names, a file system without links.
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


class FileAdopter:
    """Adopter by hard links, in the order of a push: the file durable, then in its place, then its row.

    An adoption that is interrupted leaves what an interrupted upload leaves, and the collector clears it up as such.
    """

    def __init__(self, directory: DataDirectory, executor: Executor, boot: str, changes: Changes) -> None:
        self._directory = directory
        self._executor = executor
        self._boot = boot
        self._changes = changes

    async def adopt(self, repository: str, digest: Digest, original: Original) -> int | None:
        """Make a file the blob `digest`; its size, or None where it is none or cannot be linked.

        Raises DigestInvalid where it has other bytes, OSError where it cannot be read, and whatever a change raises.
        """
        if not isinstance(original, Path):
            return None
        name = str(uuid.uuid4())
        loop = asyncio.get_running_loop()
        descriptor = await loop.run_in_executor(self._executor, partial(self._link, original, name))
        if descriptor is None:
            return None
        try:
            size = await loop.run_in_executor(self._executor, partial(self._verify, digest, name, descriptor))
            publish = partial(self._publish, repository, digest, name, descriptor)
            await in_thread(self._executor, "taking over a blob", publish)
        finally:
            os.close(descriptor)
        await self._changes.submit(LinkBlob(repository, str(digest), size))
        await in_thread(self._executor, "taking over a blob", partial(remove_files, self._directory, name))
        return size

    def _link(self, file: Path, name: str) -> int | None:
        """Open a file and give it a second name among the uploads."""
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would block
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is not a file")
            # By its descriptor, so that what is linked is what will be read. Only with a folder's descriptor (which
            # is not looked at, as the path is absolute) does Python follow the symbolic link that this is.
            opened, link = f"/proc/self/fd/{descriptor}", self._directory.uploads / f"{name}.data"
            try:
                os.link(opened, link, src_dir_fd=descriptor, follow_symlinks=True)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise translate(error, "linking a blob") from error
                os.close(descriptor)
                return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _verify(self, digest: Digest, name: str, descriptor: int) -> int:
        """Read it all; the size. Where it is not what it should be the new name goes."""
        try:
            running, size = hashing.start(digest.algorithm), 0
            while chunk := os.read(descriptor, _READ_SIZE):
                running.update(chunk)
                size += len(chunk)
            check_digest(digest, running.digest())
        except BaseException:
            remove_files(self._directory, name)
            raise
        return size

    def _publish(self, repository: str, digest: Digest, name: str, descriptor: int) -> None:
        os.fsync(descriptor)
        staged, running = self._directory.uploads / f"{name}.data", hashing.start(digest.algorithm)
        record = UploadRecord.new(repository, running, digest.algorithm, 0, self._boot).to_publish(digest)
        record.save(staged.with_suffix(".state"))
        blob = self._directory.blob(digest)
        if blob.exists() and blob.samefile(staged):  # an import that was interrupted; a rename would do nothing
            files.sync_directory(blob.parent)
        else:
            files.replace(staged, blob, self._executor)
