"""Whether what clients saw of one tag has a serial order (Herlihy and Wing, "Linearizability", 1990).

The search is that of Wing and Gong, "Testing and verifying concurrent objects" (1993), with the states that were seen
remembered (Lowe, "Testing for linearizability", 2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

    def after(self, value: str | None) -> tuple[bool, str | None]:
        """Whether it may come when the tag has a value, and the value afterwards."""
        return (True, self.value) if self.writes else (value == self.value, value)


def has_serial_order(operations: Sequence[Operation], initial: str | None = None) -> bool:
    """Whether the operations can be put one after the other, each at a moment between its start and its end."""
    ordered = sorted(operations, key=lambda operation: operation.start)
    needed = sum(1 << number for number, operation in enumerate(ordered) if operation.end < FOREVER)
    seen: set[tuple[int, str | None]] = set()
    stack: list[tuple[int, str | None]] = [(0, initial)]
    while stack:
        done, value = stack.pop()
        if done & needed == needed:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        # The one that ended first is tried first: histories that are in order take little more than one try each.
        for number in sorted(_may_be_next(ordered, done), key=lambda number: -ordered[number].end):
            fits, then = ordered[number].after(value)
            if fits:
                stack.append((done | 1 << number, then))
    return False


def _may_be_next(ordered: Sequence[Operation], done: int) -> Iterator[int]:
    """Those that began before any other that is left had ended."""
    first_end = FOREVER
    first = (~done & (done + 1)).bit_length() - 1
    left = []
    for number in range(first, len(ordered)):
        operation = ordered[number]
        if operation.start > first_end:
            break
        if not done >> number & 1:
            left.append(number)
            first_end = min(first_end, operation.end)
    return (number for number in left if ordered[number].start <= first_end)
