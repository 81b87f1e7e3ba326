"""`shoal user`: people who may log in."""

from __future__ import annotations

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, new_password, where_and_password_options, where_options

_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of the input."
)


@click.group()
def user() -> None:
    """Add, change and delete the accounts of people."""


@user.command()
@click.argument("name")
@click.option("--admin", "is_admin", is_flag=True, help="May administer, and do everything else.")
@_password_stdin
@told_plainly
@where_and_password_options
def add(where: Where, name: str, is_admin: bool, password_stdin: bool) -> None:
    """Add a user; the password is asked for.

    With the first account the registry is closed: whoever has no account, and nothing that is granted to anonymous,
    can do nothing from then on.
    """
    from registry.api.accounts import ADD_USER
    from registry.api.shapes import NewUser

    password = new_password(name, from_input=password_stdin)
    with where.client(may_be_new=True) as client:
        client.call(ADD_USER, body=NewUser(name, password, is_admin))
    may = "administer" if is_admin else "do what is granted: shoal grant set"
    click.echo(f"{name} can log in, and may {may}.")


@user.command("list")
@json_option
@told_plainly
@where_options
def list_users(where: Where, as_json: bool) -> None:
    """Show all users."""
    from registry.api.accounts import LIST_USERS
    from registry.commands.client import pages
    from registry.commands.tables import day, show

    with where.client() as client:
        users = [found for page in pages(client, LIST_USERS) for found in page.users]
    rows = [
        (
            found.name,
            "administrator" if found.is_admin else "",
            "disabled" if found.is_disabled else "",
            day(found.created),
        )
        for found in users
    ]
    show(("user", "", "", "since"), rows, users, as_json=as_json)


@user.command()
@click.argument("name")
@_password_stdin
@told_plainly
@where_and_password_options
def passwd(where: Where, name: str, password_stdin: bool) -> None:
    """Change a password; whoever had logged in with the old one has to do so again."""
    from registry.api.accounts import SET_PASSWORD
    from registry.api.shapes import NewPassword

    password = new_password(name, from_input=password_stdin)
    with where.client() as client:
        client.call(SET_PASSWORD, {"account": name}, body=NewPassword(password))
    click.echo(f"{name} has a new password.")


@user.command()
@click.argument("name")
@told_plainly
@where_options
def disable(where: Where, name: str) -> None:
    """Refuse a user from now on, and what was issued to the user before."""
    _change(where, name, is_disabled=True)
    click.echo(f"{name} is refused from now on.")


@user.command()
@click.argument("name")
@told_plainly
@where_options
def enable(where: Where, name: str) -> None:
    """Let a user log in again who was disabled."""
    _change(where, name, is_disabled=False)
    click.echo(f"{name} can log in again.")


@user.command()
@click.argument("name")
@click.option("--yes/--no", "is_admin", default=True, show_default=True, help="Whether the user may administer.")
@told_plainly
@where_options
def admin(where: Where, name: str, is_admin: bool) -> None:
    """Make a user an administrator, or with --no none any more."""
    _change(where, name, is_admin=is_admin)
    click.echo(f"{name} may administer." if is_admin else f"{name} may not administer any more.")


@user.command()
@click.argument("name")
@told_plainly
@where_options
def delete(where: Where, name: str) -> None:
    """Delete a user, and what was granted to the user."""
    from registry.api.accounts import DELETE_USER

    with where.client() as client:
        client.call(DELETE_USER, {"account": name})
    click.echo(f"{name} is deleted.")


def _change(where: Where, name: str, **change: bool) -> None:
    from registry.api.accounts import CHANGE_USER
    from registry.api.shapes import UserChange

    with where.client() as client:
        client.call(CHANGE_USER, {"account": name}, body=UserChange(**change))
