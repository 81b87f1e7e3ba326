"""What all commands have in common: some options, and how an operator is told what to mend."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

P = ParamSpec("P")

config_option = click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Settings in TOML."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def told_plainly(command: Callable[P, None]) -> Callable[P, None]:
    """Print what an operator can mend as `shoal: <message>`, without a traceback, and exit with 2."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        from registry.config import ConfigError
        from registry.errors import StartupError

        try:
            command(*args, **kwargs)
        except (ConfigError, StartupError) as error:
            for line in str(error).splitlines():
                click.echo(f"shoal: {line}", err=True)
            sys.exit(2)

    return run
