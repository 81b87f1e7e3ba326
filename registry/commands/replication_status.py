"""`shoal replication status`: at a master its slaves, at a slave its own place too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options

if TYPE_CHECKING:
    from rich.table import Table

    from registry.api.own_replication import OwnReplication
    from registry.api.shapes import Slave
    from registry.commands.client import Client

_LOOK_EVERY = 1.0  # seconds
_HEADINGS = ("slave", "address", "stored", "visible", "lag", "missing", "rate", "ready in", "state", "drift", "heard")


@click.command()
@click.option("--watch", is_flag=True, help="Look again each second, until Ctrl-C.")
@json_option
@told_plainly
@where_options
def status(where: Where, watch: bool, as_json: bool) -> None:
    """Show the slaves that this server has heard of, and how far each is behind it; at a slave, where it is itself."""
    from registry.commands.tables import show_json

    with where.client() as client:
        if watch and not as_json:
            _watch(client)
            return
        slaves, own = _slaves(client), _own(client)
    if as_json:
        show_json(slaves)
        return
    from rich.console import Console

    Console().print(table_of(slaves))
    if own.master:
        click.echo(line_of(own))
    for line in _errors(slaves):
        click.echo(line)


@click.command()
@json_option
@told_plainly
@where_options
def own(where: Where, as_json: bool) -> None:
    """Show where this slave is in the log of its master, and what came of the last `verify`."""
    from registry.commands.tables import show_json

    with where.client() as client:
        found = _own(client)
    if as_json:
        show_json(found)
    else:
        click.echo(line_of(found))


def _watch(client: Client) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        try:
            while True:
                slaves, own = _slaves(client), _own(client)
                lines = [line_of(own)] if own.master else []
                lines += _errors(slaves)
                live.update(Group(table_of(slaves), *map(Text, lines)), refresh=True)
                time.sleep(_LOOK_EVERY)
        except KeyboardInterrupt:
            return


def _errors(slaves: Sequence[Slave]) -> list[str]:
    return [f"{slave.name or '-'} ({slave.address}): {slave.error}" for slave in slaves if slave.error]


def table_of(slaves: Sequence[Slave]) -> Table:
    """One row for each slave."""
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    table = Table(*_HEADINGS)
    for slave in slaves:
        row = (
            slave.name or "-",
            slave.address,
            str(slave.stored),
            str(slave.visible),
            f"{slave.lag_events} events, {slave.lag_seconds:.1f} s" if slave.lag_events else "none",
            decimal(slave.missing),
            f"{slave.events_per_second:.1f} events/s, {decimal(int(slave.bytes_per_second))}/s",
            "?" if slave.ready_in is None else f"{slave.ready_in:.0f} s",
            slave.state,
            str(slave.drift),
            f"{slave.heard_ago:.0f} s ago",
        )
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    return table


def line_of(own: OwnReplication) -> str:
    """A slave's own place, for people."""
    if not own.master:
        return "This registry is no slave."
    doing = "paused" if own.is_paused else "taking a snapshot" if own.takes_snapshot else "following"
    place = f"This slave of {own.master} has event {own.stored} and shows all up to {own.visible} ({doing})"
    return f"{place}; {own.waiting} events wait, {own.drift} items differed since its start."


def _slaves(client: Client) -> list[Slave]:
    from registry.api.replication import LIST_SLAVES
    from registry.commands.client import pages

    return [slave for page in pages(client, LIST_SLAVES) for slave in page.slaves]


def _own(client: Client) -> OwnReplication:
    from registry.api.own_replication import SHOW_OWN

    return client.call(SHOW_OWN).body
