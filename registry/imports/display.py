"""An import on the terminal: a bar while it runs, a table at its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from registry.imports.report import Report

_EVERY = 0.2  # seconds
_MOST_PROBLEMS = 1000


@contextmanager
def watching() -> Iterator[Report]:
    """A report that is shown on the terminal while it fills."""
    console, report = Console(stderr=True), Report()
    if not console.is_terminal:
        yield report
        return
    columns = (TextColumn("repositories"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task, ended = bar.add_task("", total=None), threading.Event()

        def refresh() -> None:
            while not ended.wait(_EVERY):
                size = decimal(report.linked + report.streamed)
                said = f"{report.manifests} manifests, {report.blobs} blobs, {size}"
                bar.update(task, total=report.found or None, completed=report.repositories, description=said)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield report
        finally:
            ended.set()
            thread.join()


def show(report: Report) -> None:
    """Print what was taken over, then what was not and why."""
    console = Console()
    table = Table("", "taken over", "there already")
    table.add_row("repositories", str(report.repositories), "")
    table.add_row("tags", str(report.tags), str(report.skipped_tags))
    table.add_row("manifests", str(report.manifests), str(report.skipped_manifests))
    table.add_row("blobs", str(report.blobs), str(report.skipped_blobs))
    table.add_row("bytes copied", decimal(report.copied), "")
    table.add_row("bytes linked", decimal(report.linked), "")
    console.print(table)
    if report.problems:
        problems = Table("repository", "not taken over", "", "why")
        for problem in sorted(report.problems)[:_MOST_PROBLEMS]:
            cells = (problem.repository, problem.what, problem.kind, problem.reason)
            problems.add_row(*(Text(cell, overflow="fold") for cell in cells))
        console.print(problems)
    if len(report.problems) > _MOST_PROBLEMS:
        console.print(f"and {len(report.problems) - _MOST_PROBLEMS} others: --json has them all")
    if report.stopped:
        console.print(Text(f"Stopped: {report.stopped}. Run the same command again to go on."))
    elif report.problems:
        console.print("Everything else was taken over.")
    else:
        console.print("Everything was taken over.")
