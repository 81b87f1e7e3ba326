"""What an import did, and what it could not do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Why something was not taken over."""

    MISSING = "missing"
    """The source names it and does not have it."""
    DAMAGED = "damaged"
    """The source has other bytes than the name says, or cannot read them."""
    REFUSED = "refused"
    """Shoal does not take such a thing."""
    INCOMPLETE = "incomplete"
    """A manifest whose parts could not be taken over."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something that was not taken over. `what`: a tag or a digest."""

    repository: str
    what: str
    kind: Kind
    reason: str


@dataclass(slots=True)
class Report:
    """Counts of what is new. A blob counts once for each repository; its bytes count once.

    `copied` and `linked` are bytes; `streamed` those that were read from the source so far, for those who watch.
    """

    found: int = 0
    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    copied: int = 0
    linked: int = 0
    streamed: int = 0
    skipped_tags: int = 0
    skipped_manifests: int = 0
    skipped_blobs: int = 0
    problems: set[Problem] = field(default_factory=set)
    stopped: str = ""

    @property
    def complete(self) -> bool:
        return not self.problems and not self.stopped

    def problem(self, repository: str, what: object, kind: Kind, reason: object) -> None:
        texts = (_printable(repository), _printable(str(what)), kind, _printable(str(reason)))
        self.problems.add(Problem(*texts))

    def to_json(self) -> dict[str, object]:
        return {
            "repositories": self.repositories,
            "tags": self.tags,
            "manifests": self.manifests,
            "blobs": self.blobs,
            "bytes": {"copied": self.copied, "linked": self.linked},
            "skipped": {
                "tags": self.skipped_tags,
                "manifests": self.skipped_manifests,
                "blobs": self.skipped_blobs,
            },
            "problems": [asdict(problem) for problem in sorted(self.problems)],
            "stopped": self.stopped or None,
            "complete": self.complete,
        }


def _printable(text: str) -> str:
    """Names of files need not be text: what a terminal cannot show is shown as its number."""
    return text.encode("utf-8", "backslashreplace").decode()
