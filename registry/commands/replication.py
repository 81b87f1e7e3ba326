"""`shoal replication`: the slaves of a registry, on its master's side."""

from __future__ import annotations

from pathlib import Path

import click

from registry.commands.options import config_option, json_option, told_plainly
from registry.commands.replication_own import pause, resume, resync, verify
from registry.commands.replication_status import own, status
from registry.commands.replication_wait import wait
from registry.commands.where import Where, where_options
from registry.errors import StartupError


@click.group()
def replication() -> None:
    """Let slaves copy this registry, and see how far they are."""


for _command in (status, own, wait, verify, resync, pause, resume):
    replication.add_command(_command)
replication.add_command(status, "slaves")


@replication.group()
def token() -> None:
    """What slaves show to be let in. Where there are no accounts, none is needed."""


@token.command()
@click.argument("name")
@json_option
@told_plainly
@where_options
def create(where: Where, name: str, as_json: bool) -> None:
    """Print a token for the slave NAME, which cannot be seen again.

    Whoever has it can copy all repositories and all accounts with the hashes of their passwords; it is good for nothing
    else.
    """
    import msgspec

    from registry.api.replication import CREATE_TOKEN
    from registry.api.shapes import NewReplica

    with where.client() as client:
        made = client.call(CREATE_TOKEN, body=NewReplica(name)).body
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(made)).decode())
        return
    click.echo(f"{made.name} can copy this registry. Its token is shown this once:", err=True)
    click.echo(made.token)


@token.command("list")
@json_option
@told_plainly
@where_options
def list_tokens(where: Where, as_json: bool) -> None:
    """Show whose tokens there are."""
    from registry.api.replication import LIST_TOKENS
    from registry.commands.client import pages
    from registry.commands.tables import day, show

    with where.client() as client:
        found = [made for page in pages(client, LIST_TOKENS) for made in page.tokens]
    show(("slave", "since"), [(made.name, day(made.created)) for made in found], found, as_json=as_json)


@token.command()
@click.argument("name")
@told_plainly
@where_options
def delete(where: Where, name: str) -> None:
    """Take a token back: it is void at once, and what its slave was copying ends."""
    from registry.api.replication import DELETE_TOKEN

    with where.client() as client:
        client.call(DELETE_TOKEN, {"replica": name})
    click.echo(f"The token of {name} is void.")


@replication.command()
@config_option
@click.option("--data", metavar="DIR", help="Where everything is kept.")
@told_plainly
def detach(config: Path | None, data: str | None) -> None:
    """Make a slave that is stopped a registry of its own, with what it shows, for when its master is lost.

    What it had been told of and did not show yet is gone. Nothing leads back: as a slave it would begin anew.
    """
    import asyncio

    from registry.commands.offline import detached, held
    from registry.config import load

    settings = load(config, {"data": data})
    with held(settings, may_be_new=False):
        was_slave = asyncio.run(detached(settings))
    if not was_slave:
        raise StartupError(f"{settings.data} is no copy of another registry")
    click.echo(f"{settings.data} is a registry of its own now: start it without --role slave.")
