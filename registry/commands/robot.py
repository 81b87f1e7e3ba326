"""`shoal robot`: accounts of programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options

if TYPE_CHECKING:
    from registry.api.shapes import RobotGrant, RobotSecret

_expires = click.option("--expires", metavar="TIME", help="The secret is good for so long: 12h, 90d.")


@click.group()
def robot() -> None:
    """Create and delete the accounts of programs, such as builds and hosts."""


@robot.command()
@click.argument("name")
@click.option("--grant", "grants", metavar="PATTERN=RIGHTS", multiple=True, help="'team/**=pull,push' (repeatable).")
@_expires
@json_option
@told_plainly
@where_options
def create(where: Where, name: str, grants: Sequence[str], expires: str | None, as_json: bool) -> None:
    """Create a robot and print its secret, which cannot be seen again."""
    from registry.api.accounts import CREATE_ROBOT
    from registry.api.shapes import NewRobot

    wanted = NewRobot(name, [_grant(text) for text in grants], _seconds(expires))
    with where.client() as client:
        made = client.call(CREATE_ROBOT, body=wanted).body
    _show(made, as_json=as_json)


@robot.command("list")
@json_option
@told_plainly
@where_options
def list_robots(where: Where, as_json: bool) -> None:
    """Show all robots."""
    from registry.api.accounts import LIST_ROBOTS
    from registry.commands.client import pages
    from registry.commands.tables import day, show

    with where.client() as client:
        robots = [found for page in pages(client, LIST_ROBOTS) for found in page.robots]
    rows = [
        (found.name, "disabled" if found.is_disabled else "", day(found.created), day(found.expires) or "never")
        for found in robots
    ]
    show(("robot", "", "since", "expires"), rows, robots, as_json=as_json)


@robot.command()
@click.argument("name")
@_expires
@json_option
@told_plainly
@where_options
def renew(where: Where, name: str, expires: str | None, as_json: bool) -> None:
    """Print a new secret; the old one and what was issued for it are void."""
    from registry.api.accounts import RENEW_ROBOT
    from registry.api.shapes import NewSecret

    with where.client() as client:
        made = client.call(RENEW_ROBOT, {"account": name}, body=NewSecret(_seconds(expires))).body
    _show(made, as_json=as_json)


@robot.command()
@click.argument("name")
@told_plainly
@where_options
def delete(where: Where, name: str) -> None:
    """Delete a robot, and what was granted to it."""
    from registry.api.accounts import DELETE_ROBOT

    with where.client() as client:
        client.call(DELETE_ROBOT, {"account": name})
    click.echo(f"{name} is deleted.")


def _show(made: RobotSecret, *, as_json: bool) -> None:
    """The secret alone goes to the output, so that it can be sent on to where it is needed."""
    from registry.commands.tables import day, show_json

    if as_json:
        show_json(made)
        return
    until = f"until {day(made.expires)}" if made.expires else "until it is deleted"
    click.echo(f"{made.name} can log in {until}. Its secret is shown this once:", err=True)
    click.echo(made.secret)


def _grant(text: str) -> RobotGrant:
    """`team/**=pull,push`. Raises StartupError."""
    from registry.api.shapes import RobotGrant
    from registry.errors import StartupError

    pattern, equals, rights = text.partition("=")
    if not equals:
        raise StartupError(f"--grant {text}: expected PATTERN=RIGHTS, such as 'team/**=pull,push'")
    return RobotGrant(pattern, rights)


def _seconds(expires: str | None) -> float | None:
    from registry.errors import StartupError
    from registry.values import parse_seconds

    if expires is None:
        return None
    try:
        return parse_seconds(expires)
    except ValueError as error:
        raise StartupError(f"--expires {expires}: {error}") from None
