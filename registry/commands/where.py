"""The options that say which registry a command administers, and the way there."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

from registry.commands.options import config_option

if TYPE_CHECKING:
    from registry.commands.client import Client
    from registry.config import Settings

P = ParamSpec("P")

_SERVER_COMES_WITHIN = 10.0  # seconds
_LOOK_EVERY = 0.1  # seconds
_CONNECT_WITHIN = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Where:
    """A data directory, or with `server` the address of a server that runs anywhere."""

    config: Path | None
    data: str | None
    server: str | None
    user: str | None
    ca_file: Path | None
    password_stdin: bool = False

    @contextmanager
    def client(self, *, may_be_new: bool = False) -> Iterator[Client]:
        """The way there. `may_be_new`: where there is no registry yet, it begins. Raises StartupError, ConfigError."""
        if self.server is not None:
            yield self._remote(self.server)
            return
        from registry.config import load
        from registry.telemetry.logs import configure as configure_logs

        settings = load(self.config, {"data": self.data})
        configure_logs("warning", settings.log.format)
        with _local(settings, may_be_new=may_be_new) as client:
            yield client

    def _remote(self, server: str) -> Client:
        from registry.commands.client import remote
        from registry.errors import StartupError

        user = self.user or os.environ.get("SHOAL_USER")
        if not user:
            raise StartupError("say who you are, with --user or SHOAL_USER")
        password = first_line() if self.password_stdin else os.environ.get("SHOAL_PASSWORD")
        if password is None:
            if not sys.stdin.isatty():
                raise StartupError(f"the password of {user} is missing: set SHOAL_PASSWORD")
            password = click.prompt(f"Password of {user}", hide_input=True, err=True)
        return remote(server, user, password, self.ca_file)


@contextmanager
def _local(settings: Settings, *, may_be_new: bool) -> Iterator[Client]:
    """By the control socket where a server runs, else in the database; a server that just starts is waited for."""
    from registry.commands.client import HttpClient
    from registry.commands.unix import ControlConnection, is_served
    from registry.errors import DataInUse

    deadline = time.monotonic() + _SERVER_COMES_WITHIN
    with ExitStack() as stack:
        client: Client | None = None
        while client is None:
            if is_served(settings.data):
                client = HttpClient(lambda: ControlConnection(settings.data, _CONNECT_WITHIN), str(settings.data), {})
                break
            from registry.commands.direct import direct  # much more to import than the way by a server

            try:
                client = stack.enter_context(direct(settings, may_be_new=may_be_new))
            except DataInUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_EVERY)
        yield client


def where_options(command: Callable[Concatenate[Where, P], None]) -> Callable[..., None]:
    """Adds the options, and hands them over as the first argument."""

    @where_and_password_options
    @click.option(
        "--password-stdin", "password_stdin", is_flag=True, help="With --server: read your password from the input."
    )
    @functools.wraps(command)
    def run(where: Where, password_stdin: bool, *args: P.args, **kwargs: P.kwargs) -> None:
        command(replace(where, password_stdin=password_stdin), *args, **kwargs)

    return run


def where_and_password_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that takes the password of somebody else from the input."""

    @config_option
    @click.option("--data", metavar="DIR", help="The data directory, whether or not a server runs on it.")
    @click.option("--server", metavar="URL", help="Administer this running server instead.")
    @click.option("--user", metavar="NAME", help="With --server: who you are (SHOAL_USER; SHOAL_PASSWORD).")
    @click.option(
        "--ca-file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="With --server: certificates to trust, in PEM.",
    )
    @functools.wraps(command)
    def run(
        config: Path | None,
        data: str | None,
        server: str | None,
        user: str | None,
        ca_file: Path | None,
        *args: object,
        **kwargs: object,
    ) -> None:
        command(Where(config, data, server, user, ca_file), *args, **kwargs)

    return run


def first_line() -> str:
    """The first line of the input."""
    return sys.stdin.readline().rstrip("\r\n")


def new_password(name: str, *, from_input: bool) -> str:
    """The password that somebody is to have: from the input, or asked for twice. Raises StartupError."""
    if from_input:
        return first_line()
    if not sys.stdin.isatty():
        from registry.errors import StartupError

        raise StartupError("there is no terminal to ask at: give the password on the input, with --password-stdin")
    password: str = click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True)
    return password
