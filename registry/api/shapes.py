"""What operations take and answer, as JSON. Secrets go one way: in, or out once where they are made.

What comes in is bounded, and refused where it has a field that nobody knows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from registry.domain import access, limits
from registry.services.slaves import SlaveStatus

NameText = Annotated[str, Meta(max_length=64, description="a-z, 0-9, '.', '_', '-'; a letter or digit at either end")]
Password = Annotated[str, Meta(max_length=512, description="8 to 512 characters")]
PatternText = Annotated[
    str, Meta(max_length=255, description="a repository, where * stands for some of one part and ** for any parts")
]
RightsText = Annotated[str, Meta(max_length=64, description="some of pull, push, delete, with commas between")]
SubjectText = Annotated[str, Meta(max_length=65, description="an account, a group after @, or anonymous: everybody")]
Lifetime = Annotated[float, Meta(gt=0, le=3_200_000_000, description="seconds from now")]


class _Body(Struct, forbid_unknown_fields=True):
    """Comes from a client."""


class NewUser(_Body):
    name: NameText
    password: Password
    is_admin: bool = False


class NewPassword(_Body):
    password: Password


class UserChange(_Body):
    """What is left out stays as it is."""

    is_disabled: bool | UnsetType = UNSET
    is_admin: bool | UnsetType = UNSET


class RobotGrant(_Body):
    pattern: PatternText
    rights: RightsText


class NewRobot(_Body):
    """`expires_in`: null for a robot that lives until it is deleted."""

    name: NameText
    grants: Annotated[list[RobotGrant], Meta(max_length=100)] = []
    expires_in: Lifetime | None = None


class RobotChange(_Body):
    is_disabled: bool


class NewSecret(_Body):
    """`expires_in`: null leaves the robot's time as it is."""

    expires_in: Lifetime | None = None


class GrantChange(_Body):
    subject: SubjectText
    pattern: PatternText
    rights: RightsText


class LimitChange(_Body):
    """Of all repositories of the pattern together; null is without limit."""

    pattern: PatternText
    bytes: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    tags: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    immutable: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=100)] = []


class Rotation(_Body):
    """`revoke`: the keys of before go at once, and with them every token."""

    revoke: bool = False


class NewReplica(_Body):
    """`repositories`: patterns of what it may copy; none for everything. `may_promote`: it may put a slave in the
    master's place."""

    name: NameText
    repositories: Annotated[list[PatternText], Meta(max_length=100)] = []
    may_promote: bool = False


class User(Struct):
    name: str
    is_admin: bool
    is_disabled: bool
    created: datetime

    @classmethod
    def of(cls, account: access.Account) -> User:
        return cls(account.name, account.is_admin, account.is_disabled, _time(account.created))


class Users(Struct):
    users: list[User]


class Robot(Struct):
    """`expires`: null where it does not."""

    name: str
    is_disabled: bool
    created: datetime
    expires: datetime | None

    @classmethod
    def of(cls, account: access.Account) -> Robot:
        expires = None if account.expires is None else _time(account.expires)
        return cls(account.name, account.is_disabled, _time(account.created), expires)


class Robots(Struct):
    robots: list[Robot]


class RobotSecret(Struct):
    """The secret is shown this once."""

    name: str
    secret: str
    expires: datetime | None


class Group(Struct):
    name: str
    members: list[str]

    @classmethod
    def of(cls, group: access.Group) -> Group:
        return cls(group.name, list(group.members))


class Groups(Struct):
    groups: list[Group]


class Grant(Struct):
    subject: str
    pattern: str
    rights: str

    @classmethod
    def of(cls, grant: access.Grant) -> Grant:
        return cls(grant.subject, grant.pattern, ",".join(grant.rights))


class Grants(Struct):
    grants: list[Grant]


class Limit(Struct):
    """`immutable`: patterns of tags that stay what they are."""

    pattern: str
    bytes: int | None
    tags: int | None
    immutable: list[str]

    @classmethod
    def of(cls, limit: limits.Limit) -> Limit:
        return cls(limit.pattern, limit.bytes, limit.tags, list(limit.immutable))


class Limits(Struct):
    limits: list[Limit]


class SigningKey(Struct):
    """What tokens are verified with. `retired`: since when it signs no more; null for the one that signs."""

    id: str
    created: datetime
    retired: datetime | None

    @classmethod
    def of(cls, key: access.PublicKey) -> SigningKey:
        return cls(key.id, _time(key.created), None if key.retired is None else _time(key.retired))


class SigningKeys(Struct):
    keys: list[SigningKey]


class ReplicationToken(Struct):
    """`name`: the slave's. `repositories`: patterns of what it may copy; none for everything."""

    name: str
    created: datetime
    repositories: list[str]
    may_promote: bool

    @classmethod
    def of(cls, replica: access.Replica) -> ReplicationToken:
        return cls(replica.name, _time(replica.created), list(replica.repositories), replica.may_promote)


class ReplicationTokens(Struct):
    tokens: list[ReplicationToken]


class ReplicationTokenSecret(Struct):
    """The token is shown this once."""

    name: str
    token: str


class Slave(Struct):
    """`stored`: the last event that it has. All up to `visible` can be pulled there; `lag_events` cannot yet, the first
    of them for `lag_seconds`. `waiting`: events that wait for `missing` bytes of blobs. `error`: what went wrong last.
    `drift`: items that it found to differ from what is here, and healed, since its start. `events_per_second` and
    `bytes_per_second`: how fast it becomes like this server, over some seconds; `ready_in`: seconds until it is at that
    rate, null where that cannot be told. `heard_ago`: seconds since its last report, and `since` the first one that
    this server had.
    """

    name: str
    address: str
    stored: int
    visible: int
    lag_events: int
    lag_seconds: float
    waiting: int
    missing: int
    state: str
    error: str
    drift: int
    events_per_second: float
    bytes_per_second: float
    ready_in: float | None
    since: datetime
    heard: datetime
    heard_ago: float

    @classmethod
    def of(cls, status: SlaveStatus) -> Slave:
        report = status.report
        return cls(
            report.name,
            report.address,
            report.stored,
            report.visible,
            status.lag_events,
            status.lag_seconds,
            report.waiting,
            report.missing,
            report.state,
            report.error,
            report.drift,
            report.events_per_second,
            report.bytes_per_second,
            status.ready_in,
            _time(report.since),
            _time(report.heard),
            status.heard_ago,
        )


class Slaves(Struct):
    slaves: list[Slave]


class PromotionRequest(_Body):
    """`graceful`: the master hands over first, and nothing is lost; `force`: even where the master lives. `url`: where
    this node takes pushes from then on; "" for its public address."""

    graceful: bool = False
    force: bool = False
    url: str = ""


class PromotionResult(Struct):
    """The epoch, a number and an id, that goes on after the event `after`. `lost_changes`: what this node had been told
    of and did not have whole; `lost_in`: the repositories of that, some of them where they are many."""

    epoch: int
    id: str
    after: int
    url: str
    lost_changes: int
    lost_in: list[str]


class WhoAmI(Struct):
    """`groups`: all that the caller is in."""

    name: str
    is_admin: bool
    groups: list[str]


class ErrorEntry(Struct):
    code: str
    message: str
    detail: dict[str, Any] = {}


class Errors(Struct):
    """What every operation answers that fails."""

    errors: list[ErrorEntry]


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
