"""The table of ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Line, Series


def show(lines: Sequence[Line], facts: dict[str, Any]) -> None:
    """Print the table and the machine."""
    console = Console(width=None if Console().is_terminal else 150, highlight=False)
    table = Table(title="JobWarden beside the bare limit of this machine: medians (least to most)")
    for name in ("", "", "ours", "bare", "ours / bare", "target", ""):
        table.add_column(name, justify="left" if not name else "right")
    for line in lines:
        table.add_row(line.name, line.unit, _series(line.ours), _series(line.bare), _ratio(line), *_verdict(line))
    console.print(table)
    console.print(" · ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items()), style="dim")


def _series(series: Series | None) -> str:
    if series is None:
        return ""
    return f"{_number(series.middle)} ({_number(series.low)} to {_number(series.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(line: Line) -> str:
    return "" if line.ratio is None else f"{line.ratio:.2f}"


def _verdict(line: Line) -> tuple[str, str]:
    if line.target is None:
        return "", ""
    return str(line.target), "[green]met[/]" if line.met else "[red]missed[/]"
