"""The figures: one file for each kind, one function that measures its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from benchmarks.bench import Bench
from benchmarks.report import Goal, Row
from benchmarks.scenarios import (
    access,
    asked,
    blobs,
    databases,
    images,
    manifests,
    memory,
    objects,
    pull,
    push,
    start,
    tags,
    tls,
)

Scenario = Callable[[Bench], Iterator[Row]]

SCENARIOS: Mapping[str, Scenario] = {
    "manifests": manifests.rows,
    "blobs": blobs.rows,
    "push": push.rows,
    "images": images.rows,
    "pull": pull.rows,
    "memory": memory.rows,
    "start": start.rows,
    "tags": tags.rows,
}

ACCESS: Mapping[str, Scenario] = {
    "tokens": access.tokens,
    "pulls": access.pulls,
    "decisions": access.decisions,
    "guesses": access.guesses,
    "tls": tls.rows,
}
"""What it costs to be private; the peer is there for TLS alone."""

IN_A_STORE: Mapping[str, Scenario] = {
    "push": objects.push,
    "images": images.rows,
    "pull": partial(pull.rows, goals={1: Goal("ratio", "least", 1.0)}),
    "redirects": objects.redirects,
    "endings": asked.endings,
    "requests": asked.requests,
    "databases": databases.rows,
    "memory": partial(memory.rows, goal=Goal("value", "most", 256)),
}
"""With the blobs of both contestants in one object store."""
