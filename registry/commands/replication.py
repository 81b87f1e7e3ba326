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
@click.option("--repo", "patterns", multiple=True, metavar="PATTERN", help="What it may copy (team/**); repeatable.")
@click.option("--may-promote", is_flag=True, help="It may put a slave in the master's place.")
@json_option
@told_plainly
@where_options
def create(where: Where, name: str, patterns: tuple[str, ...], may_promote: bool, as_json: bool) -> None:
    """Print a token for the slave NAME, which cannot be seen again.

    Whoever has it can copy all repositories and all accounts with the hashes of their passwords; with --repo those that
    fit, and the accounts that are granted something of them.
    """
    from registry.api.replication import CREATE_TOKEN
    from registry.api.shapes import NewReplica
    from registry.commands.tables import show_json

    with where.client() as client:
        made = client.call(CREATE_TOKEN, body=NewReplica(name, list(patterns), may_promote)).body
    if as_json:
        show_json(made)
        return
    what = ", ".join(patterns) or "this registry"
    click.echo(f"{made.name} can copy {what}. Its token is shown this once:", err=True)
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
    rows = [
        (made.name, " ".join(made.repositories) or "all", "yes" if made.may_promote else "no", day(made.created))
        for made in found
    ]
    show(("slave", "repositories", "may promote", "since"), rows, found, as_json=as_json)


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

    What it had been told of and did not show yet is gone. Nothing leads back: its log is another one from then on, and
    as a slave it begins with empty data.
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


@replication.command()
@click.option("--graceful", is_flag=True, help="The master hands over first, and nothing is lost.")
@click.option("--force", is_flag=True, help="Even where the master lives: until it hears of this one, there are two.")
@click.option("--url", default="", metavar="URL", help="Where this node takes pushes; else its public address.")
@json_option
@told_plainly
@where_options
def promote(where: Where, graceful: bool, force: bool, url: str, as_json: bool) -> None:
    """Let this slave, which runs, take the place of its master."""
    from registry.api.replication import PROMOTE
    from registry.api.shapes import PromotionRequest
    from registry.commands.tables import show_json

    with where.client() as client:
        done = client.call(PROMOTE, body=PromotionRequest(graceful, force, url)).body
    if as_json:
        show_json(done)
        return
    click.echo(f"This node is the master now: epoch {done.epoch} ({done.id}) goes on after event {done.after}.")
    click.echo(f"Push to {done.url}")
    if done.lost_changes:
        names = ", ".join(done.lost_in)
        click.echo(f"Not complete here, and gone: {done.lost_changes} changes, in {names}")
    if not graceful:
        click.echo("What the former master took after that event is not here; it can export it: export-fork")


@replication.command("export-fork")
@config_option
@click.option("--data", metavar="DIR", help="The data of the former master.")
@click.option("--to", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@told_plainly
def export_fork(config: Path | None, data: str | None, to: Path) -> None:
    """Write what this former master took and its successor never had to FILE.

    One event a line, with the manifests, as slaves read them (docs/replication.md). A server may run.
    """
    import asyncio

    from registry.commands.export_fork import exported
    from registry.config import load

    settings = load(config, {"data": data})
    count = asyncio.run(exported(settings, to))
    if count:
        click.echo(f"{count} events are in {to}. Their layers are still here, until this node goes on as a slave.")
    else:
        click.echo("Nothing was lost: the other node has all that this one took.")
