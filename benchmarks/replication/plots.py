"""Pictures of the figures, and one page with all of them that needs nothing else."""

from __future__ import annotations

import base64
import html
import importlib.util
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.report import Row, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REPORT = "report.html"
_OURS, _THEIRS, _GOAL = "#1f6f8b", "#b0b0b0", "#c0392b"
_STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; color: #222 }
table { border-collapse: collapse; width: 100% } td, th { padding: .3em .6em; border-bottom: 1px solid #ddd }
td { text-align: right } td:first-child, th:first-child { text-align: left } img { max-width: 100% }
.yes { color: #1e7e34 } .no { color: #c0392b; font-weight: bold }
"""


def need_matplotlib() -> None:
    """Raises ClickException where no pictures can be made."""
    if importlib.util.find_spec("matplotlib") is None:
        raise click.ClickException("--plots needs matplotlib, which is not here: pip install matplotlib")


def write(figures: Mapping[str, Sequence[Row]], folder: Path, conditions: str) -> Path:
    """A picture for each kind of figures, and the page; returns where that is."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for name, rows in figures.items():
        pictures[name] = picture(name, rows)
        (folder / f"{name}.png").write_bytes(pictures[name])
    report = folder / _REPORT
    report.write_text(page(figures, pictures, conditions), encoding="utf-8")
    return report


def picture(name: str, rows: Sequence[Row]) -> bytes:
    """PNG: bars of ours and the peer's by unit, and beside them, where there are many samples, how they spread."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spread = [row for row in rows if len(row.runs.value) > len(row.runs.peer_value) and row.name.endswith("p50")]
    figure = Figure(figsize=(13, max(2.5, 0.55 * len(rows) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(1, 2 if spread else 1, squeeze=False)[0]
    _bars(places[0], name, rows)
    if spread:
        _spread(places[1], spread)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _bars(axes: Axes, name: str, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        axes.barh(place - 0.2, row.value, 0.38, color=_OURS)
        axes.text(row.value, place - 0.2, f" {shown(row.value)} {row.unit}", va="center", fontsize=8)
        if row.peer_value is not None:
            axes.barh(place + 0.2, row.peer_value, 0.38, color=_THEIRS)
            axes.text(row.peer_value, place + 0.2, f" {shown(row.peer_value)}: {row.peer}", va="center", fontsize=7)
        if (bound := _bound(row)) is not None:
            axes.plot([bound, bound], [place - 0.45, place + 0.45], color=_GOAL, linewidth=2)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_title(f"{name} (red: the goal)", fontsize=10)


def _bound(row: Row) -> float | None:
    """Where the goal lies, in the unit of the row."""
    words = row.goal.split()
    if not words:
        return None
    number = float(words[1])
    return number * row.peer_value if words[-1] == "x" and row.peer_value is not None else number


def _spread(axes: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        values = sorted(row.runs.value)
        axes.step(values, [100 * (place + 1) / len(values) for place in range(len(values))], label=row.name)
    axes.set_xscale("log")
    axes.set_xlabel(rows[0].unit)
    axes.set_ylabel("% of samples at most so")
    axes.legend(fontsize=6)


def page(figures: Mapping[str, Sequence[Row]], pictures: Mapping[str, bytes], conditions: str) -> str:
    """HTML with the pictures inside."""
    parts = [f"<!doctype html><meta charset=utf-8><title>Replication</title><style>{_STYLE}</style>"]
    parts += ["<h1>Replication</h1>", f"<p>{html.escape(conditions)}</p>"]
    for name, rows in figures.items():
        encoded = base64.b64encode(pictures[name]).decode()
        parts += [f"<h2>{html.escape(name)}</h2>", f'<img alt="" src="data:image/png;base64,{encoded}">', _table(rows)]
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    lines = ["<table><tr><th>figure<th>Shoal<th>peer<th>ratio<th>goal<th>met"]
    for row in rows:
        met = {True: "yes", False: "no", None: "-"}[row.met]
        beside = "" if row.peer_value is None else f"{shown(row.peer_value)} ({row.peer})"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} x"
        cells = (row.name, f"{shown(row.value)} {row.unit}", beside, ratio, row.goal)
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells) + f'<td class="{met}">{met}')
    return "\n".join([*lines, "</table>"])
