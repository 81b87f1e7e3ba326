"""`shoal replication wait`: until slaves show an image."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from registry.commands.options import json_option, told_plainly
from registry.commands.where import Where, where_options
from registry.errors import StartupError

if TYPE_CHECKING:
    from registry.api.waiting import WaitedFor

_A_CALL = 30.0  # seconds
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
LATE = 1
"""Exit code: the time was over before."""


@click.command()
@click.argument("image")
@click.option("--slaves", metavar="N|all", default="all", show_default=True, help="How many have to show it.")
@click.option("--timeout", metavar="TIME", default="60s", show_default=True, help="How long to wait: 90s, 5m, 1h.")
@json_option
@told_plainly
@where_options
def wait(where: Where, image: str, slaves: str, timeout: str, as_json: bool) -> None:
    """Wait until slaves show IMAGE (REPOSITORY:TAG or REPOSITORY@DIGEST) as it is here now.

    Exits with 1 where they do not in time, and says which ones; --slaves all are those heard of within 30 seconds.
    """
    from registry.api.waiting import WAIT
    from registry.commands.tables import show_json

    repository, reference = parse_image(image)
    until = time.monotonic() + seconds_of(timeout)
    with where.client() as client:
        while True:
            left = max(0.0, until - time.monotonic())
            query = {"reference": reference, "slaves": slaves, "timeout": f"{min(left, _A_CALL):.2f}"}
            found = client.call(WAIT, {"name": repository}, query).body
            if found.complete or time.monotonic() >= until:
                break
    if as_json:
        show_json(found)
    elif found.complete:
        click.echo(f"{image} can be pulled at {_names(found.shows)}")
    if found.complete:
        return
    late = f"after {timeout} these slaves do not show {image}: {_names(found.lacks)}" if found.lacks else ""
    click.echo(f"shoal: {late or f'{len(found.shows)} slaves are there, {slaves} were wanted'}", err=True)
    sys.exit(LATE)


def parse_image(text: str) -> tuple[str, str]:
    """Repository, and tag or digest; a tag that is left out is `latest`. Raises StartupError."""
    repository, at, digest = text.partition("@")
    if not at:
        repository, _, digest = text.rpartition(":") if ":" in text else (text, "", "latest")
    if not repository or not digest:
        raise StartupError(f"{text} is no image: write REPOSITORY:TAG or REPOSITORY@DIGEST, without an address")
    return repository, digest


def seconds_of(text: str) -> float:
    """Raises StartupError."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise StartupError(f"{text} is no time: write 90s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def _names(slaves: Sequence[WaitedFor]) -> str:
    return ", ".join(f"{each.name or 'a slave'} ({each.address})" for each in slaves) or "none"
