"""`shoal grant`: who may do what with which repositories."""

from __future__ import annotations

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options

_subject = click.argument("subject", metavar="NAME|@GROUP|anonymous")
_pattern = click.argument("pattern")


@click.group()
def grant() -> None:
    """Say who may pull, push and delete in which repositories.

    What no grant allows is refused. In a PATTERN, * stands for some of one part of a name, ** for any parts: team/**
    is all repositories below team, ** is all there are. Put quotes around it.
    """


@grant.command("set")
@_subject
@_pattern
@click.argument("rights")
@told_plainly
@where_options
def set_grant(where: Where, subject: str, pattern: str, rights: str) -> None:
    """Grant RIGHTS (some of pull,push,delete), in the place of what was granted on that PATTERN.

    To anonymous means to everybody, whether logged in or not.
    """
    from registry.api.grants import SET_GRANT
    from registry.api.shapes import GrantChange

    with where.client() as client:
        made = client.call(SET_GRANT, body=GrantChange(subject, pattern, rights)).body
    click.echo(f"{made.subject} may {made.rights} in {made.pattern}.")


@grant.command("list")
@click.argument("subject", metavar="[NAME|@GROUP|anonymous]", required=False)
@click.option("--repository", metavar="NAME", help="Only what holds for this repository.")
@json_option
@told_plainly
@where_options
def list_grants(where: Where, subject: str | None, repository: str | None, as_json: bool) -> None:
    """Show all grants, or those of somebody."""
    from registry.api.grants import LIST_GRANTS
    from registry.commands.client import pages
    from registry.commands.tables import show

    query = {name: text for name, text in (("subject", subject), ("repository", repository)) if text is not None}
    with where.client() as client:
        grants = [found for page in pages(client, LIST_GRANTS, query) for found in page.grants]
    rows = [(found.subject, found.pattern, found.rights) for found in grants]
    show(("who", "where", "may"), rows, grants, as_json=as_json)


@grant.command()
@_subject
@_pattern
@told_plainly
@where_options
def delete(where: Where, subject: str, pattern: str) -> None:
    """Take back what was granted on exactly that PATTERN."""
    from registry.api.grants import DELETE_GRANT

    with where.client() as client:
        client.call(DELETE_GRANT, query={"subject": subject, "pattern": pattern})
    click.echo(f"{subject} has no grant on {pattern} any more.")
