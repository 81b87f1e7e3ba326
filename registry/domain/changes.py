"""The changes that metadata can undergo. Each is applied whole, in one transaction, or refused.

Each is idempotent: a change that is applied again after its answer was lost leaves the same state.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.domain.events import JournalEvent
from registry.domain.manifest import Manifest
from registry.domain.replica import Pending, Report, Transfer, Upstream
from registry.domain.succession import Standing
from registry.domain.upload import Leftover, UploadSession


@dataclass(frozen=True, slots=True)
class LinkBlob:
    """The bytes of a blob are complete and durable: make it visible in a repository.

    `location`: the object that holds them, "" for the file that is named by the digest. What held them before is
    given up. `upload`: the session in the database that ends with this, held by `holder`; refused with
    BlobUploadUnknown where it is not.
    """

    repository: str
    digest: str
    size: int
    location: str = ""
    upload: str = ""
    holder: str = ""


@dataclass(frozen=True, slots=True)
class MountBlob:
    """Make a blob of another repository (any, where `source` is None) visible; refused with BlobUnknown."""

    repository: str
    source: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class KeepBlob:
    """A client was told that this blob is there: begin its grace time anew."""

    repository: str
    digest: str


@dataclass(frozen=True, slots=True)
class DeleteBlob:
    """Refused with BlobUnknown, or with BlobInUse while a manifest of the repository needs it."""

    repository: str
    digest: str


@dataclass(frozen=True, slots=True)
class PutManifest:
    """Store a manifest and point tags at it; refused with ManifestBlobUnknown."""

    repository: str
    manifest: Manifest
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteTag:
    """Refused with ManifestUnknown."""

    repository: str
    tag: str


@dataclass(frozen=True, slots=True)
class DeleteManifest:
    """Remove a manifest and the tags that point at it; refused with ManifestUnknown."""

    repository: str
    digest: str


@dataclass(frozen=True, slots=True)
class CollectBlobs:
    """Unlink blobs that no manifest has needed since `before`, sparing some repositories.

    The outcome lists digests that no repository has any more: their bytes are garbage.
    """

    before: float
    spare: tuple[str, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class ForgetGarbage:
    """The bytes of these digests are removed, or in use again."""

    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BeginUpload:
    """A session whose bytes will be staged in an object store."""

    session: UploadSession


@dataclass(frozen=True, slots=True)
class HoldUpload:
    """One request takes a session, or keeps it; refused with BlobUploadUnknown, UploadBusy."""

    upload: str
    repository: str
    holder: str
    now: float
    until: float


@dataclass(frozen=True, slots=True)
class SaveUpload:
    """What a session has by now; refused with BlobUploadUnknown where `holder` does not hold it (any more)."""

    session: UploadSession
    holder: str


@dataclass(frozen=True, slots=True)
class EndUpload:
    """A session ends without a blob; what the store may have of it is left over."""

    upload: str
    holder: str


@dataclass(frozen=True, slots=True)
class ForgetLeftovers:
    """These are removed from the store."""

    leftovers: tuple[Leftover, ...]


@dataclass(frozen=True, slots=True)
class PlanObject:
    """An object of this key is about to be made: it is left over until a blob has it."""

    key: str


@dataclass(frozen=True, slots=True)
class KeepPlan:
    """An object that was planned is still being made: what may be left of it counts from now. No plan is made anew."""

    key: str


@dataclass(frozen=True, slots=True)
class MoveBlob:
    """The bytes of a blob that lie at `source` lie at `target` too: from now on they are read there.

    Locations as in LinkBlob. Where the blob has gone meanwhile, or lies elsewhere, nothing is `changed` but that
    the bytes at `target` are given up; the same where the plan of the object `target` is not whole any more, as a
    collector that took it for left over may have removed it.
    """

    digest: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class NoteMove:
    """How the move of the storage stands, in the form of registry.domain.move; `before` is what has to stand there."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SetRecord:
    """One record of accounts, groups, grants or keys (registry.domain.access) is this from now on.

    `value`: the record as JSON, "" to remove it. `private`: what no journal may show and no reader of records sees.
    `expected`: refused with AccessExists where there is one already and it says "new", with AccessUnknown where there
    is none and it says "known", with AccessChanged where it is the JSON of a record and another one stands there. Also
    refused with AccessRefused where nobody would remain to administer.
    """

    kind: str
    key: str
    value: str
    private: str = ""
    expected: str = "any"


@dataclass(frozen=True, slots=True)
class KeepEvents:
    """A slave has these events of the log above it: they are kept as they came, and those of repositories wait to be
    shown. Records act at once. `upstream`: how far it is then."""

    events: tuple[JournalEvent, ...]
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class KeepSnapshot:
    """A slave has this part of a snapshot. `records`: kind, key and value of each, all of them with the first part.

    `begins`: what was kept of the log is of no use any more.
    """

    pending: tuple[Pending, ...]
    records: tuple[tuple[str, str, str], ...] | None
    upstream: Upstream
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Show:
    """A slave makes what waited in a repository visible, up to the number `through`, all at once.

    First what pointed at the manifests `renewed` goes, as those were deleted and came again; then manifests are put,
    then tags set (to a digest, or away with ""), then manifests deleted. Refused with ManifestBlobUnknown where
    something that a manifest needs is not there, but for what is `forgiven`.
    """

    repository: str
    through: int
    puts: tuple[Manifest, ...]
    tags: tuple[tuple[str, str], ...]
    deletes: tuple[str, ...]
    forgiven: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyBlob:
    """As LinkBlob, for a blob that a slave has fetched: what its repository may take was decided above."""

    link: LinkBlob


@dataclass(frozen=True, slots=True)
class ShareBlob:
    """A blob that a slave has already becomes one of another repository too; refused with BlobUnknown."""

    repository: str
    digest: str


@dataclass(frozen=True, slots=True)
class NoteTransfer:
    """A blob is being fetched (again): this session has its bytes. With an empty `upload` it is not any more."""

    transfer: Transfer


@dataclass(frozen=True, slots=True)
class KeepRepair:
    """A slave was found to differ from the registry above in a repository: `pending` makes it the same again.

    It was compared with what was there some time between the events `serial` and `end`; nothing is `changed` where the
    slave has not come to `end`, or was told of something of the repository since `serial`, or something waits there.
    """

    repository: str
    pending: tuple[Pending, ...]
    serial: int
    end: int


@dataclass(frozen=True, slots=True)
class OrderSlave:
    """What an administrator has a slave do, beside what was ordered before: to pause or to go on (None: as it is), and
    `what` once (registry.domain.replica.Orders) with a repository or, where it is "", all of them."""

    paused: bool | None
    what: str = ""
    repository: str = ""


@dataclass(frozen=True, slots=True)
class NoteReport:
    """What came of what a slave was ordered to do."""

    report: Report


@dataclass(frozen=True, slots=True)
class CutLog:
    """The events before the serial `before` are not kept any more; of those the `most` oldest go now. `of_upstream`: of
    the log above that a slave keeps, and not of the journal. `changed` where some went."""

    before: int
    most: int
    of_upstream: bool = False


@dataclass(frozen=True, slots=True)
class Detach:
    """A slave becomes a registry of its own, with what it shows: all that it kept of the log above it goes."""


@dataclass(frozen=True, slots=True)
class Promote:
    """A slave takes the place of the master: the log above it becomes its own, and goes on with an epoch of this `id`.

    What it had been told of and does not show yet is taken back by further events, so that the log says what it shows.
    `url`: where it takes pushes; `former`: where the master may be. Refused with RequestInvalid where it is no slave,
    or takes a snapshot just now.
    """

    id: str
    url: str
    former: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Demote:
    """A master becomes a slave: its own log becomes the one above it, to be gone on with there.

    Nothing is `changed` where it is a slave already, or has no log that anybody could have followed.
    """


@dataclass(frozen=True, slots=True)
class SetStanding:
    """Nothing is `changed` where the standing is not `before` any more."""

    before: Standing
    after: Standing


Change = (
    LinkBlob
    | MountBlob
    | KeepBlob
    | DeleteBlob
    | PutManifest
    | DeleteTag
    | DeleteManifest
    | CollectBlobs
    | ForgetGarbage
    | BeginUpload
    | HoldUpload
    | SaveUpload
    | EndUpload
    | ForgetLeftovers
    | PlanObject
    | KeepPlan
    | MoveBlob
    | NoteMove
    | SetRecord
    | KeepEvents
    | KeepSnapshot
    | Show
    | CopyBlob
    | ShareBlob
    | NoteTransfer
    | CutLog
    | KeepRepair
    | OrderSlave
    | NoteReport
    | Detach
    | Promote
    | Demote
    | SetStanding
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did. `digests`: the blobs concerned, where the change says so."""

    changed: bool = True
    digests: tuple[str, ...] = ()
