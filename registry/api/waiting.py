"""Waiting for slaves: for whoever may pull the image, as a build that has just pushed it may."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from registry.api.operation import Administration, Answer, Asked, Operation
from registry.domain.names import parse_repository
from registry.errors import RequestInvalid
from registry.ports.slaves import SlaveReport
from registry.services.waiting import LONGEST

_MOST_SLAVES = 1000


class WaitedFor(Struct):
    """A slave that is there: all events up to `visible` can be seen at it."""

    name: str
    address: str
    visible: int
    state: str
    error: str

    @classmethod
    def of(cls, report: SlaveReport) -> WaitedFor:
        return cls(report.name, report.address, report.visible, report.state, report.error)


class ImageShown(Struct):
    """`complete`: whether as many slaves as were asked for show the image as it was at the event `serial`.

    `shows` and `lacks`: the slaves that do, and those that do not yet.
    """

    complete: bool
    serial: int
    shows: list[WaitedFor]
    lacks: list[WaitedFor]


async def _wait(to: Administration, asked: Asked) -> Answer[ImageShown]:
    repository = parse_repository(asked.parameters["name"])
    reference = asked.query.get("reference", "latest")
    found = await to.slaves.waits.shown(repository, reference, _wanted(asked.query), _seconds(asked.query))
    shows, lacks = ([WaitedFor.of(report) for report in some] for some in (found.shows, found.lacks))
    return Answer(ImageShown(found.complete, found.serial, shows, lacks))


def _wanted(query: Mapping[str, str]) -> int | None:
    text = query.get("slaves", "all")
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= _MOST_SLAVES):
        raise RequestInvalid("slaves is a number, 1 or more, or all", {"slaves": text[:64]})
    return int(text)


def _seconds(query: Mapping[str, str]) -> float:
    text = query.get("timeout", "30")
    if not (text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 10):
        raise RequestInvalid("timeout is a number of seconds", {"timeout": text[:64]})
    return float(text)


WAIT = Operation(
    "waitForSlaves",
    "GET",
    "/replication/wait/{name}",
    "pull",
    "Answers once slaves show an image of the repository {name} as it is here now, or when the time is over",
    _wait,
    ImageShown,
    filters={
        "reference": "the tag or the digest; latest where it is left out",
        "slaves": "how many of them, or all that are there, which is the default",
        "timeout": f"seconds, at most {LONGEST:g}; 30 where it is left out",
    },
)

OPERATIONS = (WAIT,)
