"""What a slave keeps of the registry above it, as values; no I/O."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Pending:
    """A change of a repository that a slave was told of and does not show yet.

    `number`: the order in which changes were told. `kind`, `payload`, `content` as of a JournalEvent. `is_snapshot`:
    told by a snapshot, which says what there is and not how it came: something that it needs may be gone for good.
    """

    number: int
    repository: str
    serial: int
    kind: str
    payload: bytes
    content: bytes
    is_snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """How far a slave is with the log above it.

    `serial`, `epoch`, `chain` (hexadecimal): of the last event that it has. While a snapshot is taken, `snapshot` says
    so, those three say where it began, and `after` names the last repository that is whole. `settled`: the serial from
    which on the log and the snapshot agree; nothing is shown before it is reached. `base_…`: of the event
    before the part of the log that is kept here. `cursor`: of a slave of some repositories alone, what the
    registry above calls that place; serials and chain are then of a log that no other slave has.
    """

    registry: str = ""
    serial: int = 0
    epoch: int = 0
    chain: str = ""
    snapshot: bool = False
    after: str = ""
    settled: int = 0
    base_serial: int = 0
    base_epoch: int = 0
    base_chain: str = ""
    cursor: str = ""

    @property
    def is_limited(self) -> bool:
        """Whether it has some repositories alone: it is no source for others, and cannot take its master's place."""
        return bool(self.cursor)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Upstream:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Transfer:
    """A blob that is being fetched: the upload session that has its bytes so far, and of which repository."""

    digest: str
    repository: str
    upload: str
