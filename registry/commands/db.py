"""`shoal db`: look at the database, bring it up to date, move it."""

from __future__ import annotations

from pathlib import Path

import click

from registry.commands.options import config_option, told_plainly

data_option = click.option("--data", metavar="DIR", help="Where everything is kept.")


@click.group()
def db() -> None:
    """Look at the database of the metadata, upgrade it, copy it."""


@db.command()
@config_option
@data_option
@told_plainly
def current(config: Path | None, data: str | None) -> None:
    """Print the version of the schema that the database has."""
    from registry.config import load
    from registry.storage.metadata.schema import SCHEMA_VERSION
    from registry.wiring import database_of

    settings = load(config, {"data": data})
    found = database_of(settings).version()
    has = "the database has no schema yet" if found is None else f"the database has schema {found[0]}"
    click.echo(f"{has}; this version of Shoal works with schema {SCHEMA_VERSION}.")


@db.command()
@config_option
@data_option
@told_plainly
def upgrade(config: Path | None, data: str | None) -> None:
    """Bring the schema up to date (as every start does), or create it."""
    from registry.config import load
    from registry.storage.data_lock import sole_use
    from registry.storage.files import DataDirectory
    from registry.wiring import database_of

    settings = load(config, {"data": data})
    with sole_use(settings.data):
        directory = DataDirectory(settings.data, settings.storage.reserve)
        directory.prepare()
        database = database_of(settings)
        database.prepare(may_be_new=directory.is_empty())
        found = database.version()
    click.echo(f"The database has schema {found[0] if found else '?'}.")


@db.command()
@click.option("--from", "source", metavar="URL", required=True, help="sqlite:///PATH or postgresql://USER@HOST/NAME.")
@click.option("--to", "target", metavar="URL", required=True, help="An empty database.")
@told_plainly
def copy(source: str, target: str) -> None:
    """Copy all metadata, with the journal, into an empty database, and compare the two.

    Stop the nodes first. The bytes of the blobs are not in the database and stay where they are.
    """
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from registry.config import ConfigError
    from registry.storage.metadata.copying import copy as copy_all
    from registry.values import parse_database_url

    for name, url in (("--from", source), ("--to", target)):
        if not url.startswith("sqlite:///"):
            try:
                if not parse_database_url(url):
                    raise ValueError("expected sqlite:///PATH with the path of the file")
            except ValueError as error:
                raise ConfigError(f"{name}: {error}") from None

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, count: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=count)
            bar.update(tasks[what], completed=done)

        serial = copy_all(source, target, progress)
    click.echo(f"Everything is copied; the journal's {serial} events and its chain are the same.")
