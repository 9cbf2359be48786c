"""How things are shown: tables and words for people, JSON for pipes; a state is always a mark and a word.

Nothing is cut off and nothing is coloured when the output is not a terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobwarden.domain import words

#: state: style. The mark and the word carry the meaning; the colour only helps those who see it.
_STYLES: Mapping[str, str] = {
    "pending": "yellow",
    "queued": "cyan",
    "dispatched": "blue",
    "running": "bold blue",
    "retrying": "yellow",
    "orphaned": "bold magenta",
    "succeeded": "green",
    "partial": "yellow",
    "failed": "bold red",
    "canceled": "dim",
    "stopped": "dim",
    "starting": "yellow",
    "active": "green",
    "draining": "blue",
    "dead": "bold red",
    "silent": "bold magenta",
    "verified": "green",
    "gone": "bold red",
    "recycled": "bold red",
    "elsewhere": "dim",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}
_BAR = 12
_CONTROL, _PICTURES = re.compile(r"[\x00-\x08\x0b-\x1f]"), 0x2400
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))

Cell = str | Text


def console() -> Console:
    """Standard output, as wide as it needs to be where it is no terminal."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=10_000, no_color=True, force_terminal=False)


def say(*parts: Cell) -> None:
    """One line for people."""
    console().print(*map(clean, parts), soft_wrap=True, markup=False)


def clean(part: Cell) -> Cell:
    """The same without characters that could command a terminal: jobs say what they like."""
    text = str(part)
    if text.isprintable() or not _CONTROL.search(text):
        return part
    text = _CONTROL.sub(lambda found: chr(_PICTURES + ord(found[0])), text)
    return Text(text, style=part.style) if isinstance(part, Text) else text


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], right: Sequence[str] = ()) -> None:
    """A table; the columns named in ``right`` are numbers. In a pipe it is plain columns, one row to a line."""
    if not sys.stdout.isatty():
        _plain(headings, [[str(clean(cell)) for cell in row] for row in rows], right)
        return
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        grid.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in map(clean, row)))
    console().print(grid)


def fields(pairs: Iterable[tuple[str, Cell | None]]) -> None:
    """Names and values, one to a line; None is left out."""
    given = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in given), default=0)
    for name, value in given:
        say(Text.assemble((f"{name.ljust(width)}  ", "bold"), value))


def heading(words: str) -> None:
    """The title of what follows."""
    say()
    say(Text(words, style="bold underline"))


def state(name: str, more: str = "") -> Text:
    """A state as mark and word, and what is to be said with it."""
    return Text(f"{words.mark(name)} {words.said(name)}{more}", style=style(name))


def style(state: str) -> str:
    """A state's colour, for those who see it."""
    return _STYLES.get(state, "")


def bar(fraction: float) -> str:
    """How far something is."""
    done = round(max(0.0, min(1.0, fraction)) * _BAR)
    return f"{'█' * done}{'░' * (_BAR - done)} {fraction:4.0%}"


def progress(found: Mapping[str, Any] | None) -> str:
    """What an attempt last said of its progress."""
    if not found:
        return ""
    return f"{bar(float(found.get('fraction') or 0.0))} {found.get('message') or ''}".rstrip()


def duration(seconds: float | None) -> str:
    """Seconds in the unit that people would use."""
    if seconds is None:
        return ""
    for length, unit in _UNITS:
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s" if abs(seconds) >= 10 else f"{seconds:.1f}s"


def since(moment: datetime | None, now: datetime) -> str:
    """How long ago that was."""
    return duration((now - moment).total_seconds()) if moment else ""


def instant(moment: datetime | None) -> str | None:
    """A moment in UTC, to the millisecond."""
    return None if moment is None else words.instant(moment)


def compact(value: Any) -> str:
    """A JSON value on one line."""
    return json.dumps(value, ensure_ascii=False, default=plain)


def as_json(value: Any) -> None:
    """A value, or a dataclass and what it holds, as one JSON document."""
    click.echo(json.dumps(value, default=plain, ensure_ascii=False, indent=2))


def plain(value: Any) -> Any:
    """What JSON does not know, as what it knows: dataclasses as objects, instants as ISO 8601 in UTC."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def _plain(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    lines = [list(headings), *([cell.replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(headings, line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())
