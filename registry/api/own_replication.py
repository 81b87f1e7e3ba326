"""A slave, as its own administrator sees and directs it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from registry.api.operation import Administration, Answer, Asked, Operation
from registry.domain.names import parse_repository
from registry.domain.replica import RESYNC, VERIFY
from registry.errors import RequestInvalid

OWN = "/replication/own"


class OwnReplication(Struct):
    """`master`: "" where this is no slave. Up to `visible` all events can be seen here, of those up to `stored` that it
    has; `waiting` of them cannot. `ordered`, `done`: numbers of the last order, and of the last one that was carried
    out. Of that one: when it `finished`, how many `repositories` were compared and how many `unclear`, lines about what
    was `differing`, `error`. `drift`: items that differed since this slave began.
    """

    master: str
    stored: int
    visible: int
    waiting: int
    is_paused: bool
    takes_snapshot: bool
    ordered: int
    done: int
    finished: datetime | None
    repositories: int
    unclear: int
    differing: list[str]
    drift: int
    error: str


class Direction(Struct, forbid_unknown_fields=True):
    """`what`: pause, resume, verify or resync; `repository`: the one to verify or resync, "" for all."""

    what: Annotated[str, Meta(max_length=16)]
    repository: Annotated[str, Meta(max_length=255)] = ""


async def _show(to: Administration, asked: Asked) -> Answer[OwnReplication]:
    own = await to.own.progress()
    report = own.report
    finished = datetime.fromtimestamp(int(report.finished), UTC) if report.finished else None
    told = (report.repositories, report.unclear, list(report.differing), report.drift, report.error)
    orders = own.orders
    numbers = (own.stored, own.visible, own.waiting, orders.paused, own.takes_snapshot, orders.number, report.number)
    return Answer(OwnReplication(own.master, *numbers, finished, *told))


async def _direct(to: Administration, asked: Asked) -> Answer[None]:
    body: Direction = asked.body
    repository = parse_repository(body.repository) if body.repository else ""
    match body.what:
        case "pause" | "resume":
            await to.own.pause(is_paused=body.what == "pause")
        case "verify" | "resync":
            await to.own.order(VERIFY if body.what == "verify" else RESYNC, repository)
        case _:
            raise RequestInvalid("what is pause, resume, verify or resync")
    return Answer(None)


SHOW_OWN = Operation(
    "showOwnReplication", "GET", OWN, "admin", "How far this slave is, and what it found", _show, OwnReplication
)
DIRECT_OWN = Operation(
    "directOwnReplication",
    "POST",
    OWN,
    "admin",
    "Have this slave pause, go on, compare itself with the registry above it and heal what differs, or begin anew",
    _direct,
    type(None),
    Direction,
    is_of_the_node=True,
)

OPERATIONS = (SHOW_OWN, DIRECT_OWN)
