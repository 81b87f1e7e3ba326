"""`shoal backup`: snapshots of a registry, and the way back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from registry.commands.options import config_option, json_option, told_plainly

if TYPE_CHECKING:
    from registry.backup.directory import Snapshot
    from registry.backup.report import Report

F = TypeVar("F", bound=Callable[..., None])

_from = click.option(
    "--from", "source", type=click.Path(path_type=Path), metavar="DIR", required=True, help="The backup."
)
_snapshot = click.option("--snapshot", metavar="NAME", default="", help="Another one than the newest.")
_data = click.option("--data", metavar="DIR", help="The data directory.")
_jobs = click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Blobs at a time.")


@click.group()
def backup() -> None:
    """Keep snapshots of the database with all their blobs, and restore them."""


@backup.command()
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="DIR", required=True, help="The backup.")
@config_option
@_data
@_jobs
@json_option
@told_plainly
def create(target: Path, config: Path | None, data: str | None, jobs: int, as_json: bool) -> None:
    """Add a snapshot to a backup; nodes may run meanwhile.

    Only blobs that the backup does not hold yet are copied. Exits with 1 where the registry has lost the bytes of a
    blob itself: all else is in the snapshot then.
    """
    from registry.commands.run_backup import create as create_snapshot
    from registry.config import load

    settings = load(config, {"data": data})
    _run(lambda report: create_snapshot(settings, target, jobs, report), as_json, "The snapshot {} is complete.")


@backup.command("list")
@_from
@json_option
@told_plainly
def list_snapshots(source: Path, as_json: bool) -> None:
    """Show the snapshots of a backup; exit with 1 where one cannot be read."""
    from registry.backup.directory import BackupDirectory

    snapshots, damaged = BackupDirectory(source).snapshots()
    if as_json:
        from msgspec.structs import asdict

        click.echo(json.dumps([asdict(snapshot) for snapshot in snapshots], indent=2))
    else:
        _show_snapshots(snapshots)
    for problem in damaged.values():
        click.echo(f"shoal: {problem}", err=True)
    sys.exit(1 if damaged else 0)


def _show_snapshots(snapshots: list[Snapshot]) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("snapshot", "time", "serial", "blobs", "bytes", "lost before")
    for found in snapshots:
        taken = f"{datetime.fromtimestamp(found.time, UTC):%Y-%m-%d %H:%M:%S} UTC"
        numbers = (str(found.serial), str(found.blobs), decimal(found.size), str(len(found.problems)))
        table.add_row(found.name, taken, *numbers)
    Console().print(table)


@backup.command()
@_from
@click.option("--snapshot", metavar="NAME", default="", help="Only this one; all are read else.")
@_jobs
@json_option
@told_plainly
def verify(source: Path, snapshot: str, jobs: int, as_json: bool) -> None:
    """Read a backup as a whole and compare it with its hashes; exit with 1 where something is wrong."""
    from registry.commands.run_backup import verify as verify_backup

    _run(lambda report: verify_backup(source, snapshot, jobs, report), as_json, "All of the backup was read.")


@backup.command()
@_from
@_snapshot
@config_option
@_data
@_jobs
@json_option
@told_plainly
def restore(source: Path, snapshot: str, config: Path | None, data: str | None, jobs: int, as_json: bool) -> None:
    """Bring a snapshot into an empty registry: a data directory, database and bucket that hold nothing yet.

    The settings say where to: files or a bucket, SQLite or Postgres, whatever the snapshot came from. Run again
    after an interruption, it goes on.
    """
    from registry.commands.run_backup import restore as restore_snapshot
    from registry.config import load

    settings = load(config, {"data": data})
    _run(lambda report: restore_snapshot(settings, source, snapshot, jobs, report), as_json, "{} is restored.")


def _run(work: Callable[[Report], None], as_json: bool, said: str) -> None:
    """Work with a bar, tell how it went, and exit."""
    from rich.filesize import decimal

    from registry.backup.report import Report
    from registry.commands.terminal import Stand, bar

    report = Report()
    with bar("blobs", lambda: Stand(report.blobs, report.expected, decimal(report.size))):
        work(report)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        _show(report, said.format(report.snapshot))
    sys.exit(1 if report.problems else 0)


def _show(report: Report, said: str) -> None:
    from rich.console import Console
    from rich.filesize import decimal

    from registry.commands.terminal import problems_table

    console = Console()
    console.print(f"{report.blobs} blobs, of them {report.copied} copied ({decimal(report.size)}).")
    if report.problems:
        console.print(problems_table("what", "wrong with it", report.problems))
    console.print(said if not report.problems else f"{said} Something is wrong with what the table names.")
