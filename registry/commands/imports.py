"""`shoal import`: take over what another registry holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

import click

from registry.commands.options import config_option, json_option, told_plainly

if TYPE_CHECKING:
    from registry.imports.ports import Source
    from registry.imports.report import Report

F = TypeVar("F", bound=Callable[..., None])
_SMALL_READS = 4  # threads beside those that copy blobs
_MOST_PROBLEMS = 1000


class _Shared(TypedDict):
    """The options that all sources share: where to, and how much."""

    config: Path | None
    data: str | None
    server: str | None
    repo: tuple[str, ...]
    jobs: int
    as_json: bool


def _shared_options(command: F) -> F:
    for option in reversed(
        (
            config_option,
            click.option("--data", metavar="DIR", help="The data directory of Shoal; no server may run on it."),
            click.option("--server", metavar="URL", help="Push to this running server instead."),
            click.option("--repo", metavar="GLOB", multiple=True, help="Only such repositories (may be repeated)."),
            click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Blobs at a time."),
            json_option,
        )
    ):
        command = option(command)
    return command


@click.group("import")
def import_group() -> None:
    """Take over the images of another registry.

    What is there already is skipped, so an import that was interrupted, or new pushes to the old registry, only
    take another run.
    """


@import_group.command()
@click.argument("directory", metavar="DIR")
@_shared_options
@told_plainly
def distribution(directory: str, **shared: Unpack[_Shared]) -> None:
    """Take over the storage of docker-registry 2.x.

    DIR is what its configuration calls rootdirectory; s3://BUCKET/PREFIX?endpoint=URL is such a storage in a bucket,
    with keys from where the tools of AWS find them. Files get a second name in the data directory where both are
    on one file system (nothing is copied then), and are checked against their digests.
    """
    from registry.imports.tree import TreeFiles, TreeSource

    threads = shared["jobs"] + _SMALL_READS
    files: TreeFiles
    if directory.startswith("s3://"):
        from registry.imports.bucket_tree import BucketTree

        files = BucketTree(directory, threads)
    else:
        from registry.imports.local_tree import LocalTree

        files = LocalTree(Path(directory))
    _run(TreeSource(files, threads), **shared)


@import_group.command()
@click.argument("url", metavar="URL")
@click.option("--user", metavar="NAME", default="", help="Log in to the old registry.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of the input.")
@_shared_options
@told_plainly
def registry(url: str, user: str, password_stdin: bool, **shared: Unpack[_Shared]) -> None:
    """Copy from a running registry, over HTTP.

    Its catalog tells the repositories. Manifests without a tag are found where another one lists them, or as
    referrers.
    """
    from registry.imports.http_session import Credentials, RegistrySession
    from registry.imports.http_source import HttpSource

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else ""
    session = RegistrySession(url, Credentials(user, password) if user else None)
    _run(HttpSource(session), **shared)


def _run(source: Source, **shared: Unpack[_Shared]) -> None:
    from registry.commands.run_import import into_data, into_server

    def wanted(name: str) -> bool:
        return not shared["repo"] or any(fnmatchcase(name, glob) for glob in shared["repo"])

    if shared["server"] is not None:
        with _watching() as report:
            into_server(source, shared["server"], wanted, shared["jobs"], report)
    else:
        from registry.config import load

        settings = load(shared["config"], {"data": shared["data"]})
        with _watching() as report:
            into_data(source, settings, wanted, shared["jobs"], report)
    if shared["as_json"]:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        _show(report)
    sys.exit(0 if report.complete else 1)


@contextmanager
def _watching() -> Iterator[Report]:
    """A report that is shown on the terminal while it fills."""
    from rich.filesize import decimal

    from registry.commands.terminal import Stand, bar
    from registry.imports.report import Report

    report = Report()

    def stand() -> Stand:
        size = decimal(report.linked + report.streamed)
        words = f"{report.manifests} manifests, {report.blobs} blobs, {size}"
        return Stand(report.repositories, report.found, words)

    with bar("repositories", stand):
        yield report


def _show(report: Report) -> None:
    """Print what was taken over, then what was not and why."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

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
