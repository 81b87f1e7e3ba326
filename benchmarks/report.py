"""Figures: a row for each, its arithmetic, and the table or JSON that they are told in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure has to reach: a bound for the value itself, or for its ratio to the peer's."""

    of: Literal["value", "ratio"]
    at: Literal["least", "most"]
    bound: float

    def text(self, unit: str) -> str:
        sign = "≥" if self.at == "least" else "≤"
        return f"{sign} {self.bound:g} {'x' if self.of == 'ratio' else unit}"

    def met(self, value: float, ratio: float | None) -> bool | None:
        """None where there is nothing to compare with."""
        measured = value if self.of == "value" else ratio
        if measured is None:
            return None
        return measured >= self.bound if self.at == "least" else measured <= self.bound


@dataclass(frozen=True, slots=True)
class Runs:
    """What each single run gave, in the unit of the row."""

    value: tuple[float, ...]
    peer_value: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `peer` names what it is compared with; `ratio` is value / peer_value."""

    name: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    goal: str
    met: bool | None
    runs: Runs


def make_row(
    name: str, unit: str, goal: Goal | None, values: Sequence[float], peer: str | None, peer_values: Sequence[float]
) -> Row:
    """A row of medians; without values of a peer its fields are None. Without a goal it only tells."""
    value = median(values)
    peer_value = median(peer_values) if peer_values else None
    ratio = value / peer_value if peer_value else None
    return Row(
        name,
        value,
        unit,
        peer if peer_values else None,
        peer_value,
        ratio,
        goal.text(unit) if goal else "",
        goal.met(value, ratio) if goal else None,
        Runs(tuple(values), tuple(peer_values)),
    )


def to_json(rows: Sequence[Row]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)


def to_table(rows: Sequence[Row], peer: str | None, runs: int) -> Table:
    """`peer` is the one that most rows are compared with; a row says so where it has another."""
    title = f"Medians of {runs} runs" + (f"; the peer is {peer}" if peer else "")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("figure")
    for heading in ("Shoal", "peer", "ratio", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name if row.peer in (peer, None) else f"{row.name}; beside: {row.peer}",
            f"{shown(row.value)} {row.unit}",
            "" if row.peer_value is None else shown(row.peer_value),
            "" if row.ratio is None else f"{row.ratio:.2f} x",
            row.goal,
            _MET[row.met],
        )
    return table


_MET = {True: Text("yes", "green"), False: Text("no", "bold red"), None: Text("-")}


def shown(value: float) -> str:
    """Three significant digits and more: 0.123, 1.23, 12.3, 123, 12,345."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
