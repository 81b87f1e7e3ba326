"""The move of all blobs from files into a bucket, or back, as the database keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class MoveState(StrEnum):
    """PREPARING: every node opens the other store. MOVING: one copies. REFUSED, FAILED and DONE are ends.

    REFUSED: nothing was moved. FAILED: some of it was, so both stores are read on, and new blobs go to the old one.
    """

    PREPARING = "preparing"
    MOVING = "moving"
    REFUSED = "refused"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class StorageMove:
    """`settings`: the file whose [storage] all nodes take over; it names no secrets here. `node`: the one that copies,
    which is called by `host` and `data`; both may be others after its next start. `since`: seconds since the epoch.
    `why`: it was refused, has failed, or has to wait. `problems`: by digest, why a blob stays where it was. `beat`: it
    grows while the node is at it, also where one blob takes long.
    """

    id: str
    settings: str
    into_bucket: bool
    node: str
    host: str
    data: str
    since: float
    state: MoveState = MoveState.PREPARING
    why: str = ""
    expected: int = 0
    blobs: int = 0
    size: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    beat: int = 0

    @property
    def goes_on(self) -> bool:
        return self.state in (MoveState.PREPARING, MoveState.MOVING)

    def to_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def parse(text: str | None) -> StorageMove | None:
        """Read what to_text wrote; None where there is nothing."""
        if not text:
            return None
        fields = json.loads(text)
        return StorageMove(**{**fields, "state": MoveState(fields["state"])})
