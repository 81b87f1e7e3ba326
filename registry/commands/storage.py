"""`shoal storage`: where the blobs lie."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.commands.options import config_option, json_option, told_plainly

if TYPE_CHECKING:
    from registry.domain.move import StorageMove


@click.group()
def storage() -> None:
    """Change where the blobs lie."""


@storage.command()
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    required=True,
    help="The settings of tomorrow: [storage] names the bucket, and kind says where blobs go.",
)
@config_option
@click.option("--data", metavar="DIR", help="The data directory of the node that copies.")
@json_option
@told_plainly
def move(target: Path, config: Path | None, data: str | None, as_json: bool) -> None:
    """Move all blobs from files into a bucket, or back, while nodes serve pushes and pulls.

    The node on the data directory does it; this shows how far it is, and may be interrupted and run again. Other
    nodes need FILE at the same path. Start them with FILE from the next time on. Exits with 1 where blobs had to stay
    because their bytes are damaged.
    """
    from rich.filesize import decimal

    from registry.commands.run_move import move_storage
    from registry.commands.terminal import Stand, bar
    from registry.config import load

    settings = load(config, {"data": data})
    waits = ""
    stand = Stand(0, 0, "every node opens both stores")

    def on_progress(now: StorageMove) -> None:
        nonlocal stand, waits
        words = decimal(now.size) if now.expected else stand.words
        stand = Stand(now.blobs, now.expected, f"waits: {now.why}" if now.why else words)
        if now.goes_on and now.why not in ("", waits) and not sys.stderr.isatty():
            click.echo(f"shoal: the move waits: {now.why}", err=True)
        waits = now.why

    with bar("blobs", lambda: stand):
        done = move_storage(settings, target, on_progress)
    if as_json:
        report = {"blobs": done.blobs, "size": done.size, "problems": done.problems}
        click.echo(json.dumps(report, indent=2))
    else:
        _show(done)
    sys.exit(1 if done.problems else 0)


def _show(done: StorageMove) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.text import Text

    from registry.commands.terminal import problems_table

    console = Console()
    where = "in the bucket" if done.into_bucket else "files"
    console.print(f"{done.blobs} blobs ({decimal(done.size)}) were moved and are {where} now.")
    if done.problems:
        console.print(problems_table("stayed where it was", "because", done.problems))
        console.print("Push these images again, then run this again.")
    console.print(Text(f"Start the nodes with {done.settings} from now on."))
