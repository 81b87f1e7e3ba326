"""Bars on the terminal while a command works; nothing where there is no terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_EVERY = 0.2  # seconds


class Stand(NamedTuple):
    """How far something is: `total` is 0 while it is not known; `words` say more."""

    done: int
    total: int
    words: str = ""


@contextmanager
def bar(what: str, stand: Callable[[], Stand]) -> Iterator[None]:
    """A bar on the error output until the block ends; `stand` is asked in another thread, a few times a second."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task, ended = progress.add_task("", total=None), threading.Event()

        def refresh() -> None:
            while not ended.wait(_EVERY):
                done, total, words = stand()
                progress.update(task, total=total or None, completed=done, description=words)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def problems_table(what: str, why: str, problems: Mapping[str, str]) -> Table:
    """Each thing that has a problem, in order, under the heading `what`."""
    table = Table(what, why)
    for name, reason in sorted(problems.items()):
        table.add_row(*(Text(cell, overflow="fold") for cell in (name, reason)))
    return table
