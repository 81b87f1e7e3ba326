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

    @property
    def takes_snapshot(self) -> bool:
        """Whether what is shown goes with no place in the log yet."""
        return self.snapshot or self.serial < self.settled

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


VERIFY, RESYNC = "verify", "resync"


@dataclass(frozen=True, slots=True)
class Orders:
    """What an administrator wants of a slave. `what`: to do once, the `number`th order; "" before the first."""

    paused: bool = False
    number: int = 0
    what: str = ""
    repository: str = ""

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | None) -> Orders:
        return cls(**json.loads(text)) if text else cls()


@dataclass(frozen=True, slots=True)
class Report:
    """What came of the order `number`, or of a look that the slave took by itself since then.

    `finished`: in seconds since the epoch. `repositories` were compared, and of `unclear` ones it could not be told.
    `differing`: lines for people, some of the items that differed. `drift`: how many did since this slave began.
    `error`: why it came to no end.
    """

    number: int = 0
    finished: float = 0.0
    repositories: int = 0
    unclear: int = 0
    differing: tuple[str, ...] = ()
    drift: int = 0
    error: str = ""

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | None) -> Report:
        fields = json.loads(text) if text else {}
        return cls(**{**fields, "differing": tuple(fields.get("differing", ()))})
