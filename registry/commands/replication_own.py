"""`shoal replication verify`, `resync`, `pause` and `resume`: at a slave that runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options
from registry.errors import StartupError

if TYPE_CHECKING:
    from registry.api.own_replication import OwnReplication
    from registry.commands.client import Client

_LOOK_EVERY = 0.3  # seconds
_LONGEST = 3600.0  # seconds
DIFFERED = 1
"""Exit code: something differed, or it could not be told."""


@click.command()
@click.option("--repo", metavar="NAME", default="", help="Compare this repository alone.")
@json_option
@told_plainly
@where_options
def verify(where: Where, repo: str, as_json: bool) -> None:
    """Compare what this slave shows with the registry above it; what differs is told, counted and healed.

    Exits with 1 where something differed or could not be compared.
    """
    from registry.commands.tables import show_json

    with where.client() as client:
        found = _done(client, "verify", repo)
    if as_json:
        show_json(found)
    else:
        for line in found.differing:
            click.echo(line)
        what = repo or f"{found.repositories} repositories"
        click.echo(f"{what}: {len(found.differing) or 'no'} items differed; {found.unclear} could not be compared now")
    if found.error:
        raise StartupError(f"it could not be compared: {found.error}")
    if found.differing or found.unclear:
        sys.exit(DIFFERED)


@click.command()
@click.option("--repo", metavar="NAME", default="", help="This repository alone.")
@told_plainly
@where_options
def resync(where: Where, repo: str) -> None:
    """Have this slave take a snapshot again, or compare and take one repository; no blob that is here is fetched."""
    with where.client() as client:
        _done(client, "resync", repo)
    click.echo(f"{repo} was compared, and what differed is being healed." if repo else "A snapshot is being taken.")


@click.command()
@told_plainly
@where_options
def pause(where: Where) -> None:
    """Have this slave follow no more until `resume`, also over a start; pulls go on."""
    with where.client() as client:
        _direct(client, "pause")
    click.echo("The slave is paused: shoal replication resume lets it go on.")


@click.command()
@told_plainly
@where_options
def resume(where: Where) -> None:
    """Have a slave that was paused go on from where it is."""
    with where.client() as client:
        _direct(client, "resume")
    click.echo("The slave goes on.")


def _direct(client: Client, what: str, repository: str = "") -> None:
    from registry.api.own_replication import DIRECT_OWN, Direction

    client.call(DIRECT_OWN, body=Direction(what, repository))


def _done(client: Client, what: str, repository: str) -> OwnReplication:
    """Order it, and wait until it is done. Raises StartupError."""
    from registry.api.own_replication import SHOW_OWN

    _direct(client, what, repository)
    own = client.call(SHOW_OWN).body
    number, until = own.ordered, time.monotonic() + _LONGEST
    while own.done < number:
        if own.is_paused:
            raise StartupError("this slave is paused, and will do it once it goes on: shoal replication resume")
        if time.monotonic() > until:
            raise StartupError("it is not done yet; shoal replication status shows when it is")
        time.sleep(_LOOK_EVERY)
        own = client.call(SHOW_OWN).body
    return own
