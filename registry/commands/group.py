"""`shoal group`: accounts that get their rights together."""

from __future__ import annotations

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options

_group = click.argument("group_name", metavar="GROUP")
_account = click.argument("account")


@click.group()
def group() -> None:
    """Gather accounts in groups; a grant to @GROUP is one to each member."""


@group.command()
@_group
@_account
@told_plainly
@where_options
def add(where: Where, group_name: str, account: str) -> None:
    """Take an account into a group, which is made where there is none."""
    from registry.api.grants import ADD_MEMBER

    with where.client() as client:
        made = client.call(ADD_MEMBER, {"group": group_name, "account": account}).body
    click.echo(f"{made.name}: {', '.join(made.members)}")


@group.command()
@_group
@_account
@told_plainly
@where_options
def remove(where: Where, group_name: str, account: str) -> None:
    """Take an account out of a group; one without members is gone."""
    from registry.api.grants import REMOVE_MEMBER

    with where.client() as client:
        made = client.call(REMOVE_MEMBER, {"group": group_name, "account": account}).body
    click.echo(f"{made.name}: {', '.join(made.members) or 'nobody is left'}")


@group.command("list")
@json_option
@told_plainly
@where_options
def list_groups(where: Where, as_json: bool) -> None:
    """Show all groups with their members."""
    from registry.api.grants import LIST_GROUPS
    from registry.commands.client import pages
    from registry.commands.tables import show

    with where.client() as client:
        groups = [found for page in pages(client, LIST_GROUPS) for found in page.groups]
    show(("group", "members"), [(found.name, ", ".join(found.members)) for found in groups], groups, as_json=as_json)
