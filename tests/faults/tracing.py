"""What a server asked of the kernel, in order, as strace saw it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)")


@dataclass
class SystemCall:
    """`begun` and `ended` are places in the trace: a call was over before another began where ended < begun."""

    name: str
    arguments: str
    begun: int
    ended: int
    result: int


def prefix(output: Path, calls: Sequence[str]) -> list[str]:
    """The command that traces these calls of a server and its workers; descriptors are shown with their paths."""
    watched = ",".join(calls)
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "64", "-e", f"trace={watched}", "-o", str(output)]


def read(output: Path) -> list[SystemCall]:
    """All calls that ended, in the order in which they began."""
    calls: list[SystemCall] = []
    open_calls: dict[str, SystemCall] = {}
    for number, line in enumerate(output.read_text(errors="replace").splitlines()):
        if match := _BEGUN.match(line):
            open_calls[match[1]] = SystemCall(match[2], match[3], number, -1, 0)
            calls.append(open_calls[match[1]])
        elif match := _ENDED.match(line):
            call = open_calls.pop(match[1])
            call.arguments, call.ended, call.result = call.arguments + match[3], number, int(match[4])
        elif match := _WHOLE.match(line):
            calls.append(SystemCall(match[2], match[3], number, number, int(match[4])))
    return [call for call in calls if call.ended >= 0]


def find(calls: Sequence[SystemCall], what: str, wanted: Callable[[SystemCall], bool], after: int = -1) -> SystemCall:
    """The first call that is wanted and began after a place in the trace; raises AssertionError that says what."""
    for call in calls:
        if call.begun > after and wanted(call):
            return call
    listing = "\n".join(f"{call.begun}-{call.ended} {call.name}({call.arguments[:150]})" for call in calls)
    raise AssertionError(f"after line {after} there is no {what} in\n{listing}")
