"""The table of ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Line, Series


def show(lines: Sequence[Line], facts: dict[str, Any]) -> None:
    """Print the table and the machine."""
    console = Console(width=None if Console().is_terminal else 170, highlight=False)
    table = Table(title="JobWarden beside the bare limit of this machine: medians of the rounds (least to most)")
    for name in ("", "ours", "", "the bare limit", "", "ratio", "target", ""):
        table.add_column(name, justify="right" if name in ("ours", "ratio", "target") else "left")
    for line in lines:
        table.add_row(
            line.name,
            _series(line.ours),
            line.unit,
            line.bare_is,
            _series(line.bare),
            f"{line.ratio:.2f}",
            *_verdict(line),
        )
    console.print(table)
    console.print(" · ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()), style="dim")


def _series(series: Series) -> str:
    return f"{_number(series.middle)} ({_number(series.low)} to {_number(series.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _verdict(line: Line) -> tuple[str, str]:
    if line.target is None:
        return "", ""
    kind = " of bare" if line.target.of == "ratio" else ""
    return f"{line.target}{kind}", "[green]met[/]" if line.met else "[red]missed[/]"
