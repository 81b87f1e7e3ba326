"""What a command on a backup has done so far; it is shown while it fills."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Report:
    """`expected` and `blobs`: how many blobs there are to look at, and were. `copied`, `size`: those that were not
    there yet, and their bytes. `problems`: by digest (or the name of a snapshot), what is wrong with it.
    """

    snapshot: str = ""
    serial: int = 0
    expected: int = 0
    blobs: int = 0
    copied: int = 0
    size: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return asdict(self)
