"""The `shoal` command. Each command imports what it needs when it runs, so that all of them start fast."""

import functools
import importlib
import json
import sys
from pathlib import Path

import click

from registry import __version__
from registry.commands.options import config_option, json_option, told_plainly

_LAZY = {
    "audit": "registry.commands.audit:audit",
    "backup": "registry.commands.backup:backup",
    "bench": "benchmarks.cli:bench",
    "db": "registry.commands.db:db",
    "fsck": "registry.commands.fsck:fsck",
    "grant": "registry.commands.grant:grant",
    "group": "registry.commands.group:group",
    "import": "registry.commands.imports:import_group",
    "limit": "registry.commands.limit:limit",
    "replication": "registry.commands.replication:replication",
    "robot": "registry.commands.robot:robot",
    "storage": "registry.commands.storage:storage",
    "tls": "registry.commands.tls:tls",
    "token": "registry.commands.token:token",
    "user": "registry.commands.user:user",
}


class _LazyGroup(click.Group):
    """A group that finds some of its commands in modules that are imported only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LAZY:
            module, _, name = _LAZY[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Shoal, a private container image registry."""


@main.command()
@config_option
@click.option("--data", metavar="DIR", help="Where everything is kept.")
@click.option("--listen", metavar="HOST:PORT", multiple=True, help="Where clients connect; may be given again.")
@click.option("--workers", metavar="N", help="Processes that serve clients.")
@click.option("--allow-anonymous", is_flag=True, default=None, help="Let everybody push who can connect.")
@click.option("--role", metavar="master|slave", help="Take pushes, or copy what a master has and serve pulls alone.")
@click.option("--master", metavar="URL", help="The registry that a slave copies; it may be a slave itself.")
@click.option(
    "--or-master", metavar="URL", multiple=True, help="Another address that may have the same log; may be given again."
)
@click.option("--token-file", metavar="FILE", help="What `shoal replication token create` printed at the master.")
@click.option("--repo", "patterns", metavar="PATTERN", multiple=True, help="What a slave copies (team/**); repeatable.")
@told_plainly
def serve(
    config: Path | None,
    data: str | None,
    listen: tuple[str, ...],
    workers: str | None,
    allow_anonymous: bool | None,
    role: str | None,
    master: str | None,
    or_master: tuple[str, ...],
    token_file: str | None,
    patterns: tuple[str, ...],
) -> None:
    """Run the registry until it is told to stop.

    Settings come from the file, then from SHOAL_* variables, then from these flags. SIGTERM lets running transfers
    finish; SIGHUP reads the settings again.
    """
    from registry.config import load

    flags = {
        "data": data,
        "server.listen": ",".join(listen) or None,
        "server.workers": workers,
        "server.allow_anonymous": allow_anonymous,
        "replication.role": role,
        "replication.master": master,
        "replication.others": list(or_master) or None,
        "replication.token_file": token_file,
        "replication.repositories": ",".join(patterns) or None,
    }
    reload = functools.partial(load, config, flags)
    settings = reload()

    from registry.app import serve as serve_registry

    sys.exit(serve_registry(settings, reload))


@main.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@config_option
@told_plainly
def check(config: Path | None) -> None:
    """Say whether the settings can be used; exit with 2 if not."""
    from registry.config import load

    settings = load(config)

    from registry.processes.tls import tls_of

    tls_of(settings.tls)
    click.echo("The settings are good.")


@config.command()
@config_option
@json_option
@told_plainly
def show(config: Path | None, as_json: bool) -> None:
    """Print every setting in force and where it came from; secrets are hidden."""
    from registry.config import show as show_settings

    settings = show_settings(config)
    if as_json:
        rows = [{"key": shown.key, "value": shown.value, "origin": shown.origin} for shown in settings]
        click.echo(json.dumps(rows, indent=2))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("setting", "value", "from")
    for shown in settings:
        value = shown.value if isinstance(shown.value, str) else json.dumps(shown.value)
        table.add_row(*(Text(cell, overflow="fold") for cell in (shown.key, value, shown.origin)))
    Console().print(table)


@main.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    click.echo(json.dumps({"version": __version__}) if as_json else f"shoal {__version__}")
