"""`shoal fsck`: look whether all is well."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.commands.options import config_option, json_option, told_plainly

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.services.fsck import Findings

_MOST_SHOWN = 1000


@click.command()
@config_option
@click.option("--data", metavar="DIR", help="Where everything is kept; no server may run on it.")
@click.option("--deep", is_flag=True, help="Read every blob and compare it with its digest.")
@click.option("--repair", is_flag=True, help="Remove files that nothing needs; everything else is only told.")
@json_option
@told_plainly
def fsck(config: Path | None, data: str | None, deep: bool, repair: bool, as_json: bool) -> None:
    """Compare the database, the bytes of the blobs and the journal; exit with 1 where something is wrong."""
    from registry.commands.terminal import Stand, bar
    from registry.config import load
    from registry.errors import RegistryError, StartupError
    from registry.services.fsck import Findings
    from registry.telemetry.logs import configure as configure_logs

    settings = load(config, {"data": data})
    configure_logs(settings.log.level, settings.log.format)
    findings = Findings()
    try:
        with bar("blobs", lambda: Stand(findings.blobs, findings.expected)):
            _check(settings, findings, deep=deep, repair=repair)
    except RegistryError as error:
        raise StartupError(f"it cannot be checked: {error.with_cause}") from error
    if as_json:
        click.echo(json.dumps(findings.to_json(), indent=2))
    else:
        _show(findings)
    sys.exit(0 if findings.clean else 1)


def _check(settings: Settings, findings: Findings, *, deep: bool, repair: bool) -> None:
    from registry.commands.offline import held, opened
    from registry.services.fsck import Checker

    with held(settings, may_be_new=False) as directory:

        async def check() -> None:
            async with opened(settings, directory) as node:
                stored = node.stores.inspection(directory)
                await Checker(node.inventory, stored, findings).run(deep=deep, repair=repair)

        asyncio.run(check())


def _show(findings: Findings) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(
        f"Looked at {findings.blobs} blobs, {findings.files} files, {findings.manifests} manifests "
        f"and {findings.events} events of the journal."
    )
    if not findings.findings:
        console.print("All is well.")
        return
    table = Table("what", "where", "of", "found", "to do")
    for finding in findings.findings[:_MOST_SHOWN]:
        cells = (finding.kind, ", ".join(finding.repositories), finding.what, finding.detail, finding.advice)
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    console.print(table)
    if len(findings.findings) > _MOST_SHOWN:
        console.print(f"and {len(findings.findings) - _MOST_SHOWN} others: --json has them all")
