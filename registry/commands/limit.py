"""`shoal limit`: what repositories may take."""

from __future__ import annotations

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options

_pattern = click.argument("pattern")


@click.group()
def limit() -> None:
    """Say how much repositories may hold, and which tags stay what they are.

    A PATTERN is one repository, all below a name (team/**) or all (**); what it holds is counted together, a blob of
    several repositories once. Put quotes around it.
    """


@limit.command("set")
@_pattern
@click.option("--bytes", "most_bytes", metavar="SIZE", help="The most bytes of blobs, such as 500GiB.")
@click.option("--tags", type=click.IntRange(min=0), help="The most tags.")
@click.option(
    "--immutable", multiple=True, metavar="TAGS", help="Tags that are never moved or removed, such as 'v*'; repeatable."
)
@told_plainly
@where_options
def set_limit(where: Where, pattern: str, most_bytes: str | None, tags: int | None, immutable: tuple[str, ...]) -> None:
    """Limit what fits PATTERN, in the place of what was said of it."""
    from registry.api.limits import SET_LIMIT
    from registry.api.shapes import LimitChange
    from registry.errors import StartupError
    from registry.values import parse_bytes

    try:
        size = None if most_bytes is None else parse_bytes(most_bytes)
    except ValueError as error:
        raise StartupError(f"--bytes: {error}") from error
    with where.client() as client:
        client.call(SET_LIMIT, body=LimitChange(pattern, size, tags, list(immutable)))
    click.echo(f"{pattern} is limited.")


@limit.command("list")
@json_option
@told_plainly
@where_options
def list_limits(where: Where, as_json: bool) -> None:
    """Show all limits."""
    from registry.api.limits import LIST_LIMITS
    from registry.commands.client import pages
    from registry.commands.tables import show

    with where.client() as client:
        limits = [found for page in pages(client, LIST_LIMITS) for found in page.limits]
    rows = [
        (found.pattern, _shown(found.bytes), _shown(found.tags), ", ".join(found.immutable) or "-") for found in limits
    ]
    show(("where", "bytes", "tags", "immutable tags"), rows, limits, as_json=as_json)


@limit.command()
@_pattern
@told_plainly
@where_options
def delete(where: Where, pattern: str) -> None:
    """Take away what was said of exactly that PATTERN."""
    from registry.api.limits import DELETE_LIMIT

    with where.client() as client:
        client.call(DELETE_LIMIT, query={"pattern": pattern})
    click.echo(f"{pattern} is not limited any more.")


def _shown(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
