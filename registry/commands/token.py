"""`shoal token`: what signs the tokens that clients get."""

from __future__ import annotations

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options


@click.group()
def token() -> None:
    """Look after what tokens are signed with."""


@token.group()
def keys() -> None:
    """The keys that sign tokens; the next one takes over by itself every 30 days."""


@keys.command("list")
@json_option
@told_plainly
@where_options
def list_keys(where: Where, as_json: bool) -> None:
    """Show all keys that tokens are verified with."""
    from registry.api.keys import LIST_KEYS
    from registry.commands.client import pages
    from registry.commands.tables import day, show

    with where.client() as client:
        found = [key for page in pages(client, LIST_KEYS) for key in page.keys]
    rows = [(key.id, day(key.created), day(key.retired) or "it signs") for key in found]
    show(("key", "since", "retired"), rows, found, as_json=as_json)


@keys.command()
@click.option("--revoke", is_flag=True, help="All tokens of before are void at once: for a key that somebody has got.")
@told_plainly
@where_options
def rotate(where: Where, revoke: bool) -> None:
    """Sign with a new key from now on; tokens that another one signed stay valid until their time is over."""
    from registry.api.keys import ROTATE_KEYS
    from registry.api.shapes import Rotation

    with where.client() as client:
        made = client.call(ROTATE_KEYS, body=Rotation(revoke)).body
    click.echo(f"{made.id} signs from now on{'; every token of before is void' if revoke else ''}.")
