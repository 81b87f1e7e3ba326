"""`shoal bench replication`."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import click
from rich.console import Console

from benchmarks.bench import progress_on
from benchmarks.load.http import LoadError
from benchmarks.places import folder_in
from benchmarks.replication import catchup, cost, lag, live, plots, snapshot, throughput
from benchmarks.replication.arena import Arena
from benchmarks.replication.live import Live
from benchmarks.replication.plan import FULL, QUICK
from benchmarks.report import Row, to_json, to_table
from benchmarks.testbed.client import Registry
from benchmarks.testbed.hosts import TestbedError, need_root

Scenario = Callable[[Arena], Iterator[Row]]

SCENARIOS: Mapping[str, Scenario] = {
    "lag": lag.rows,
    "throughput": throughput.rows,
    "catch-up": catchup.rows,
    "snapshot": snapshot.rows,
    "pushes": cost.pushes,
    "memory": cost.memory,
}


@click.command()
@click.option("--master", metavar="URL", help="A master that runs, in the place of one that is started for this.")
@click.option("--slave", "slaves", multiple=True, metavar="URL", help="A slave of it; may be repeated.")
@click.option(
    "--repository", default="shoal-bench", show_default=True, help="Where images go meanwhile, with --master."
)
@click.option("--user", metavar="NAME", help="Who may push and delete there; the password in SHOAL_BENCH_PASSWORD.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="Who signed their certificates.")
@click.option("--quick", is_flag=True, help="Smaller sizes and fewer runs, in some minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print rows as JSON.")
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="These figures alone; may be repeated.")
@click.option("--peer/--no-peer", "with_peer", default=True, help="Compare with skopeo sync, or do not.")
@click.option("--congestion", metavar="NAME", help="TCP of all hosts: bbr, reno, cubic, as the kernel has them.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    show_default=True,
    help="Where to keep the data of all servers meanwhile.",
)
@click.option(
    "--plots",
    "plots_in",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write PNG pictures there, and report.html with all of them (needs matplotlib).",
)
def replication(
    master: str | None,
    slaves: Sequence[str],
    repository: str,
    user: str | None,
    ca_file: str | None,
    quick: bool,
    as_json: bool,
    only: Sequence[str],
    with_peer: bool,
    congestion: str | None,
    data_dir: Path,
    plots_in: Path | None,
) -> None:
    """How far behind slaves are, how fast they catch up, and what they cost their master.

    With --master and --slave it measures a pair that runs, with small images that it removes again. Without them it
    makes hosts of its own on this machine, joined by links as slow and far as links are; that needs root.

    It measures and does not judge: a missed goal is no failure.
    """
    if bool(master) != bool(slaves):
        raise click.UsageError("name both --master and --slave, or none of them")
    if plots_in is not None:
        plots.need_matplotlib()
    login = "" if user is None else f"{user}:{os.environ.get('SHOAL_BENCH_PASSWORD', '')}"
    console, plan = Console(stderr=True), QUICK if quick else FULL
    scenarios: Mapping[str, Scenario] = {name: SCENARIOS[name] for name in only or SCENARIOS}
    try:
        if master is not None:
            at = [Registry(url.rstrip("/"), None, login, ca_file) for url in (master, *slaves)]
            scenarios = {"lag": partial(live.rows, live=Live(at[0], at[1:], repository, quick))}
        else:
            need_root()
        console.print(conditions(congestion), highlight=False, soft_wrap=True)
        with folder_in(data_dir) as folder, progress_on(console) as progress:
            arena = Arena(plan, folder, progress, with_peer, congestion)
            rows = {name: list(scenario(arena)) for name, scenario in scenarios.items()}
    except (LoadError, TestbedError, OSError) as error:
        raise click.ClickException(str(error)) from error
    flat = [row for each in rows.values() for row in each]
    if plots_in is not None:
        console.print(f"pictures and report: {plots.write(rows, plots_in, conditions(congestion))}", highlight=False)
    if as_json:
        click.echo(to_json(flat))
    else:
        Console().print(to_table(flat, None, plan.runs))


def conditions(congestion: str | None) -> str:
    chosen = congestion or Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return (
        f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.2f}, Python {platform.python_version()}, "
        f"Linux {platform.release()}, TCP {chosen}"
    )
