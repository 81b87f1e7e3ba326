"""One page of a list, asked for again and again by one client."""

from __future__ import annotations

import json
import time
from statistics import median

from benchmarks.load.http import Connection, LoadError
from benchmarks.processes import Server


def page_time(server: Server, target: str, entries: int, requests: int) -> float:
    """Median seconds from request to answer; raises LoadError where the page has not `entries` tags, or a next one."""
    times = []
    with Connection(server.port) as connection:
        for _ in range(requests):
            started = time.perf_counter()
            answer = connection.request("GET", target)
            times.append(time.perf_counter() - started)
            if answer.status != 200:
                raise LoadError(f"GET {target} was answered with {answer.status}")
    if len(json.loads(answer.body)["tags"]) != entries or "link" in answer.headers:
        raise LoadError(f"GET {target} is not a last page of {entries} tags: {answer.body[:300]!r}")
    return median(times)
