"""What is kept of an upload beside its bytes."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from registry.domain.digest import Digest
from registry.domain.upload import UploadState
from registry.storage import hashing


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """The state that a client was told.

    `hash_state`: base64 of the running hash at `offset`, "" where it cannot be saved; `digest`: of the
    bytes up to `offset`; `boot`: the boot of the machine that they were written in; `publishing`: the
    blob that the bytes are about to become, "" before the last request.
    """

    repository: str
    algorithm: str
    offset: int
    hash_state: str
    digest: str
    boot: str
    publishing: str = ""
    opener: str = ""

    @staticmethod
    def new(
        repository: str, running: hashing.RunningHash, algorithm: str, offset: int, boot: str, opener: str = ""
    ) -> UploadRecord:
        state = base64.b64encode(running.state).decode()
        return UploadRecord(repository, algorithm, offset, state, str(running.digest()), boot, opener=opener)

    def to_publish(self, digest: Digest) -> UploadRecord:
        return replace(self, publishing=str(digest))

    def resume(self) -> hashing.RunningHash | None:
        """The hash at `offset`, or None where only reading the bytes again can give it."""
        return hashing.resume(self.algorithm, base64.b64decode(self.hash_state))

    def upload_state(self, upload_id: str) -> UploadState:
        return UploadState(upload_id, self.repository, self.algorithm, self.offset, self.opener)

    def save(self, path: Path) -> None:
        """Replace the file at once: a crash leaves the old state or the new one."""
        draft = path.with_suffix(".draft")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, msgspec.json.encode(self))
            finally:
                os.close(descriptor)
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    @staticmethod
    def load(path: Path) -> UploadRecord | None:
        """The record, or None where there is none or a power loss left it empty."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=UploadRecord)
        except (FileNotFoundError, IsADirectoryError, msgspec.DecodeError):
            return None
