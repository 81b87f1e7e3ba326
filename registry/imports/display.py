"""An import on the terminal: a bar while it runs, a table at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from registry.imports.report import Report
from registry.terminal import Stand, bar

_MOST_PROBLEMS = 1000


@contextmanager
def watching() -> Iterator[Report]:
    """A report that is shown on the terminal while it fills."""
    report = Report()

    def stand() -> Stand:
        size = decimal(report.linked + report.streamed)
        words = f"{report.manifests} manifests, {report.blobs} blobs, {size}"
        return Stand(report.repositories, report.found, words)

    with bar("repositories", stand):
        yield report


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
