"""Many clients at once, each a process of its own, so that they do not wait for each other."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import TypeVar

from benchmarks.load.http import LoadError

T = TypeVar("T")
Work = Callable[[], object]

_GATHER_PATIENCE = 60.0

# Clients are forked off a process that has what they need imported, and neither threads nor a progress bar.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([f"benchmarks.load.{kind}" for kind in ("heads", "images", "layers")])


def together(job: Callable[[T], Work], tasks: Sequence[T]) -> float:
    """Do a job for every task, all at the same time; returns seconds from the first start to the last end.

    `job(task)` prepares in the process of the client and returns the work itself; only that is timed.
    Both have to be picklable. Raises LoadError where one fails.
    """
    start = _context.Barrier(len(tasks))
    clients = []
    for task in tasks:
        ours, theirs = _context.Pipe(duplex=False)
        process = _context.Process(target=_client, args=(job, task, start, theirs), daemon=True)
        process.start()
        theirs.close()
        clients.append((process, ours))
    told = [_result(ours) for _, ours in clients]
    for process, ours in clients:
        process.join()
        ours.close()
    failures = [result for result in told if isinstance(result, str)]
    if failures:
        failures.sort(key=lambda failure: "BrokenBarrierError" in failure)  # those only heard of a failure elsewhere
        raise LoadError(f"{len(failures)} of {len(tasks)} clients failed; one of them so:\n{failures[0]}")
    times = [result for result in told if not isinstance(result, str)]
    return max(ended for _, ended in times) - min(started for started, _ in times)


def _result(connection: Connection) -> tuple[float, float] | str:
    try:
        result: tuple[float, float] | str = connection.recv()
    except EOFError:
        return "the client's process died"
    return result


def _client(job: Callable[[T], Work], task: T, start: Barrier, result: Connection) -> None:
    try:
        work = job(task)
        start.wait(_GATHER_PATIENCE)
        started = time.monotonic()
        work()
        result.send((started, time.monotonic()))
    except Exception:
        start.abort()
        result.send(traceback.format_exc())
