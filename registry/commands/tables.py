"""Lists on the terminal, or as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click
import msgspec


def show_json(found: object) -> None:
    """Print it for programs."""
    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


def show(headings: Sequence[str], rows: Sequence[Sequence[str]], found: object, *, as_json: bool) -> None:
    """Print `found` as JSON, or `rows` under `headings`."""
    if as_json:
        show_json(found)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings)
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console().print(table)


def day(time: datetime | None) -> str:
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
