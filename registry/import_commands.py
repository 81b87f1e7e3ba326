"""`shoal import`: take over what another registry holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from registry.cli import config_option, json_option, told_plainly

if TYPE_CHECKING:
    from registry.imports.ports import Source
    from registry.imports.report import Report

F = TypeVar("F", bound=Callable[..., None])
_SMALL_READS = 4


def _common(command: F) -> F:
    """What all sources have in common: where to, and how much."""
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
@_common
@told_plainly
def distribution(
    directory: str,
    config: Path | None,
    data: str | None,
    server: str | None,
    repo: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> None:
    """Take over the storage of docker-registry 2.x.

    DIR is what its configuration calls rootdirectory; s3://BUCKET/PREFIX?endpoint=URL is such a storage in a bucket,
    with keys from where the tools of AWS find them. Files get a second name in the data directory where both are
    on one file system (nothing is copied then), and are checked against their digests.
    """
    from registry.imports.tree import TreeFiles, TreeSource

    threads = jobs + _SMALL_READS
    files: TreeFiles
    if directory.startswith("s3://"):
        from registry.imports.bucket_tree import BucketTree

        files = BucketTree(directory, threads)
    else:
        from registry.imports.local_tree import LocalTree

        files = LocalTree(Path(directory))
    _run(TreeSource(files, threads), config, data, server, repo, jobs, as_json)


@import_group.command()
@click.argument("url", metavar="URL")
@click.option("--user", metavar="NAME", default="", help="Log in to the old registry.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of the input.")
@_common
@told_plainly
def registry(
    url: str,
    user: str,
    password_stdin: bool,
    config: Path | None,
    data: str | None,
    server: str | None,
    repo: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> None:
    """Copy from a running registry, over HTTP.

    Its catalog tells the repositories. Manifests without a tag are found where another one lists them, or as
    referrers.
    """
    from registry.imports.http_session import Credentials, RegistrySession
    from registry.imports.http_source import HttpSource

    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else ""
    session = RegistrySession(url, Credentials(user, password) if user else None)
    _run(HttpSource(session), config, data, server, repo, jobs, as_json)


def _run(
    source: Source,
    config: Path | None,
    data: str | None,
    server: str | None,
    repo: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> None:
    from registry.importing import into_data, into_server
    from registry.imports import display

    def wanted(name: str) -> bool:
        return not repo or any(fnmatchcase(name, glob) for glob in repo)

    if server is not None:
        with display.watching() as report:
            into_server(source, server, wanted, jobs, report)
    else:
        from registry.config import load

        settings = load(config, {"data": data})
        with display.watching() as report:
            into_data(source, settings, wanted, jobs, report)
    _tell(report, as_json)


def _tell(report: Report, as_json: bool) -> None:
    from registry.imports import display

    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        display.show(report)
    sys.exit(0 if report.complete else 1)
