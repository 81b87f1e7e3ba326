"""The audit log: who did what, from where, and what came of it, as lines that hold each other by hashes; no I/O.

Each line names the hash of the one before it, so a line that was changed, removed or put between others breaks the
chain. Whoever may write the file can make a whole new chain: keep the last hash elsewhere (`shoal audit verify` prints
it) and compare.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from registry.domain.access import ANONYMOUS

OPERATOR = "operator"
"""What logs call whoever administers on the machine itself; no account can have this name."""
CHAIN_START = "0" * 64
_WINDOW = 10.0  # seconds
_MOST_KEYS = 10_000
_MOST_TARGETS = 50  # of one client and kind, within a window


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that happened. `who`: an account, "anonymous", "unknown" (a name that is no account's) or "operator".

    `origin`: the client's address. `what`: an `action`, such as manifest.put or addUser.post, and `target` what it was
    done to. `result`: done or refused, or the status of another refusal. `times`: so often within some seconds.
    """

    time: float
    who: str
    origin: str
    what: str
    target: str
    result: str
    request: str = ""
    times: int = 1


def action(label: str, method: str) -> str:
    """The word for what was done: the label of a route, or the name of an operation, with the method."""
    return f"{label}.{method.lower()}"


def line(entry: AuditEntry, serial: int, previous: str) -> tuple[str, str]:
    """An entry as a line of the log (JSON, without a line end), and its hash."""
    fields: dict[str, Any] = {"serial": serial, **asdict(entry), "previous": previous}
    text = json.dumps(fields, separators=(",", ":"), sort_keys=True)
    chain = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-1]},"chain":"{chain}"}}', chain


def may_be_counted(entry: AuditEntry) -> bool:
    """Whether a line for many alike says as much: of refusals, and of tokens that anybody gets without a name.

    Whoever could have a line for each of these would soon have pushed the oldest file, and what it says, out.
    """
    return entry.result != "done" or (entry.who == ANONYMOUS and entry.what.startswith("token."))


@dataclass(frozen=True, slots=True)
class Position:
    """The end of a chain: the serial of its last line and that line's hash."""

    serial: int = 0
    chain: str = CHAIN_START


def follow(position: Position, text: str) -> Position:
    """The position after one more line. Raises ValueError, which says what is wrong, where it does not follow."""
    try:
        fields = json.loads(text)
        body, chain, serial, previous = text, fields["chain"], fields["serial"], fields["previous"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("no line of an audit log") from error
    if serial != position.serial + 1:
        raise ValueError(f"the line after {position.serial} says that it is {serial}")
    if previous != position.chain:
        raise ValueError(f"line {serial} does not follow on the one before it")
    unsigned = body.removesuffix(f',"chain":"{chain}"}}') + "}"
    if hashlib.sha256(unsigned.encode()).hexdigest() != chain:
        raise ValueError(f"line {serial} was changed")
    return Position(serial, chain)


class Repetitions:
    """Tells the first of many alike at once, and how many there were when some seconds are over.

    Somebody who is refused a thousand times a second would fill the disk otherwise.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, ...], tuple[AuditEntry, int]] = OrderedDict()
        self._targets: Counter[tuple[str, ...]] = Counter()

    def take(self, entry: AuditEntry) -> AuditEntry | None:
        """What to write for one more refusal now, if anything."""
        by = (entry.who, entry.origin, entry.what, entry.result)
        key = (*by, entry.target)
        if key not in self._seen and self._targets[by] >= _MOST_TARGETS:
            key, entry = (*by, ""), replace(entry, target="")  # names that somebody invents: no line for each
        if key in self._seen:
            first, times = self._seen[key]
            self._seen[key] = first, times + 1
            return None
        if len(self._seen) >= _MOST_KEYS:  # many addresses at once: of these, not each one can be told
            key = ("", "", entry.what, entry.result, "")
            first, times = self._seen.get(key, (replace(entry, who="several", origin="several", target=""), 0))
            self._seen[key] = first, times + 1
            return None
        self._seen[key] = entry, 0
        self._targets[by] += 1
        return entry

    def due(self, now: float, *, everything: bool = False) -> Iterator[AuditEntry]:
        """The repetitions of windows that are over."""
        for key, (first, times) in list(self._seen.items()):
            if not everything and now - first.time < _WINDOW:
                continue
            del self._seen[key]
            self._targets[key[:-1]] -= 1
            if self._targets[key[:-1]] <= 0:
                del self._targets[key[:-1]]
            if times:
                yield replace(first, time=now, times=times)
