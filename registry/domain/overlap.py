"""Whether some name can fit two patterns of repositories (registry.domain.patterns); no I/O."""

from __future__ import annotations

import re
from functools import lru_cache

_STAR = re.compile(r"(\*\*/|\*\*|\*)")
_ANY, _IN_PART, _NOTHING = "any", "in part", ""
_Edges = list[list[tuple[str, int]]]
"""By state, what may come next and where that leads; the last state is the end of a name."""


@lru_cache(maxsize=65536)
def overlap(one: str, other: str) -> bool:
    """Whether there can be a repository that fits both. Names that no repository can have count too."""
    left, right = _edges(one), _edges(other)
    reached, todo = {(0, 0)}, [(0, 0)]
    while todo:
        at, beside = todo.pop()
        if (at, beside) == (len(left) - 1, len(right) - 1):
            return True
        found = [(to, beside) for what, to in left[at] if what == _NOTHING]
        found += [(at, to) for what, to in right[beside] if what == _NOTHING]
        found += [(a, b) for what, a in left[at] for also, b in right[beside] if _can_be_one(what, also)]
        todo += [pair for pair in found if pair not in reached]
        reached.update(found)
    return False


def _can_be_one(one: str, other: str) -> bool:
    """Whether one character can be both."""
    if _NOTHING in (one, other):
        return False
    if _ANY in (one, other) or one == other:
        return True
    return _IN_PART in (one, other) and "/" not in (one, other) and (len(one) == 1 or len(other) == 1)


def _edges(pattern: str) -> _Edges:
    edges: _Edges = [[]]
    for part in _STAR.split(pattern):
        at = len(edges) - 1
        match part:
            case "**/":  # any number of parts, each with its slash
                edges[at] += [(_NOTHING, at + 2), (_IN_PART, at + 1)]
                edges += [[(_IN_PART, at + 1), ("/", at)], []]
            case "**":  # one character or more
                edges[at].append((_ANY, at + 1))
                edges.append([(_ANY, at + 1)])
            case "*":  # any number of characters of one part
                edges[at] += [(_IN_PART, at), (_NOTHING, at + 1)]
                edges.append([])
            case _:
                for place, letter in enumerate(part, at):
                    edges[place].append((letter, place + 1))
                    edges.append([])
    return edges
