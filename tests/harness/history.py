"""Whether what clients saw of one tag has a serial order (Herlihy and Wing, "Linearizability", 1990).

The search is that of Wing and Gong, "Testing and verifying concurrent objects" (1993), with the states that were seen
remembered (Lowe, "Testing for linearizability", 2017).

Writes without an answer would double the states each, so they are no steps of their own. One is of use only right
before a read that sees it: another write would hide it. And of those that write one value, the one that began first
serves as well as any other. So a state says only how many of each value were used, and one that used more of them than
another state, and is the same otherwise, can be left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

FOREVER = math.inf


@dataclass(frozen=True)
class Operation:
    """A read that saw `value`, or a write of it; None is "no such tag". `end` is FOREVER where no answer came: such a
    write may have been done at any time after `start`, or never.
    """

    start: float
    end: float
    value: str | None
    writes: bool


@dataclass(frozen=True)
class _State:
    """All that was answered before `first` is done, and those whose bits are set in `done`, counted from `first`."""

    first: int
    done: int
    value: str | None
    used: Mapping[str | None, int]

    def after(self, number: int, value: str | None) -> _State:
        done = self.done | 1 << number - self.first
        through = (~done & (done + 1)).bit_length() - 1
        return replace(self, first=self.first + through, done=done >> through, value=value)

    def uses_no_less_than(self, other: Mapping[str | None, int]) -> bool:
        return all(self.used.get(value, 0) >= count for value, count in other.items())


def has_serial_order(operations: Sequence[Operation], initial: str | None = None) -> bool:
    """Whether the operations can be put one after the other, each at a moment between its start and its end."""
    ordered = sorted(operations, key=lambda operation: operation.start)
    answered = [operation for operation in ordered if operation.end < FOREVER]
    unanswered: dict[str | None, list[float]] = {}
    for operation in ordered:
        if operation.end == FOREVER and operation.writes:
            unanswered.setdefault(operation.value, []).append(operation.start)
    seen: dict[tuple[int, int, str | None], list[Mapping[str | None, int]]] = {}
    stack = [_State(0, 0, initial, {})]
    while stack:
        state = stack.pop()
        if state.first == len(answered):
            return True
        others = seen.setdefault((state.first, state.done, state.value), [])
        if any(state.uses_no_less_than(used) for used in others):
            continue
        others.append(state.used)
        stack.extend(_next(state, answered, unanswered))
    return False


def _next(
    state: _State, answered: Sequence[Operation], unanswered: Mapping[str | None, Sequence[float]]
) -> list[_State]:
    """The states that one more answered operation leads to, the likeliest last: nothing unanswered was used for it, and
    it ended first.
    """
    left = list(_left(state, answered))
    first_end = min(answered[number].end for number in left)
    fitting, helped = [], []
    for number in sorted(left, key=lambda number: -answered[number].end):
        operation = answered[number]
        if operation.start > first_end:
            continue
        used = state.used.get(operation.value, 0)
        helpers = unanswered.get(operation.value, ())
        if operation.writes or operation.value == state.value:
            fitting.append(state.after(number, operation.value))
        elif used < len(helpers) and helpers[used] <= first_end:
            after = state.after(number, operation.value)
            helped.append(replace(after, used={**state.used, operation.value: used + 1}))
    return helped + fitting


def _left(state: _State, answered: Sequence[Operation]) -> Iterator[int]:
    """What is not done, as far as it may be next: it began before any other had ended."""
    first_end = FOREVER
    for number in range(state.first, len(answered)):
        if answered[number].start > first_end:
            return
        if not state.done >> number - state.first & 1:
            first_end = min(first_end, answered[number].end)
            yield number
