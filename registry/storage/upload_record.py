"""What is kept of an upload beside its bytes."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

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

    @staticmethod
    def new(repository: str, running: hashing.RunningHash, algorithm: str, offset: int, boot: str) -> UploadRecord:
        state = base64.b64encode(running.state).decode()
        return UploadRecord(repository, algorithm, offset, state, str(running.digest()), boot)

    def to_publish(self, digest: Digest) -> UploadRecord:
        return replace(self, publishing=str(digest))

    def resume(self) -> hashing.RunningHash | None:
        """The hash at `offset`, or None where only reading the bytes again can give it."""
        return hashing.resume(self.algorithm, base64.b64decode(self.hash_state))

    def upload_state(self, upload_id: str) -> UploadState:
        return UploadState(upload_id, self.repository, self.algorithm, self.offset)

    def save(self, path: Path) -> None:
        """Replace the file at once: a crash leaves the old state or the new one."""
        draft = path.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(asdict(self)))
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    @staticmethod
    def load(path: Path) -> UploadRecord | None:
        """The record, or None where there is none or a power loss left it empty."""
        try:
            return UploadRecord(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
