"""`shoal audit`: look whether the audit log is whole, and read it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from registry.commands.options import config_option, json_option, told_plainly


@click.group()
def audit() -> None:
    """The log of who did what."""


_data_option = click.option("--data", metavar="DIR", help="Where everything is kept; a server may run on it.")


@audit.command()
@config_option
@_data_option
@json_option
@told_plainly
def verify(config: Path | None, data: str | None, as_json: bool) -> None:
    """Follow the chain of hashes; exit with 1 where a line was changed, removed or added.

    Whoever may write the files can make a new chain: keep the last hash elsewhere, and look whether it is still there
    (`shoal audit export`).
    """
    from registry.storage.audit_log import verify as verify_log

    directory = _directory(config, data)
    try:
        end = verify_log(directory)
    except ValueError as error:
        said = f"The audit log is not whole: {error}"
        click.echo(json.dumps({"whole": False, "error": str(error)}) if as_json else said)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps({"whole": True, "serial": end.serial, "chain": end.chain}))
    else:
        click.echo(f"The audit log is whole. Its last line is {end.serial}, with the hash {end.chain}.")


@audit.command()
@config_option
@_data_option
@click.option(
    "--after", type=click.IntRange(min=0), default=0, metavar="SERIAL", help="Only what came after that line."
)
@click.option("--who", metavar="NAME", help="Only what this account did.")
@told_plainly
def export(config: Path | None, data: str | None, after: int, who: str | None) -> None:
    """Print the log, one JSON document a line."""
    from registry.storage.audit_log import lines

    for _, text in lines(_directory(config, data)):
        if not text.endswith("\n"):  # it is being written just now
            continue
        entry = json.loads(text)
        if entry["serial"] > after and who in (None, entry["who"]):
            click.echo(text, nl=False)


def _directory(config: Path | None, data: str | None) -> Path:
    from registry.config import load
    from registry.errors import StartupError
    from registry.storage.files import DataDirectory

    directory = DataDirectory(load(config, {"data": data}).data, 0).audit
    if not directory.is_dir():
        raise StartupError(f"there is no audit log in {directory}: name the data directory with --data or --config")
    return directory
