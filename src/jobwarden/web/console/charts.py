"""Charts as SVG that is drawn here: bars by state, lines of waits and runs, small ones for rows. Colours are classes.

Nothing is told by colour alone: each bar and line says in words what it is (``title``), and each chart what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from markupsafe import Markup

from jobwarden.views.series import Levels, Series
from jobwarden.web.console import words

_WIDE, _HIGH, _FOOT = 360.0, 90.0, 16.0
_ORDER = ("succeeded", "failed", "orphaned", "canceled", "stopped")


def ended(series: Series) -> Markup:
    """How many attempts ended in each step, by how they ended."""
    steps = _steps(series)
    most = max((sum(counts.values()) for _, counts in steps), default=0)
    wide = _WIDE / max(1, len(steps))
    drawn = []
    for number, (at, counts) in enumerate(steps):
        low = _HIGH
        for state in _ORDER:
            count = counts.get(state, 0)
            high = (_HIGH - 4) * count / most if most else 0.0
            low -= high
            if count:
                title = f"{words.exact(at)[:16]}: {count:,} {words.said(state)}"
                drawn.append(_rect(number * wide, low, max(1.0, wide - 0.5), high, f"s-{state}", title))
    total = sum(sum(counts.values()) for _, counts in steps)
    label = f"{total:,} attempts ended since {words.exact(series.since)[:16]}, at most {most:,} in {_unit(series)}"
    return _chart(label, drawn + _axis(series, f"{most:,}"))


def spans(series: Series, which: str) -> Markup:
    """The time that half (p50) and 95 % (p95) of the attempts stayed below: ``which`` is wait or run."""
    points = [point for point in series.points if getattr(point, f"{which}_p95") is not None]
    most = max((getattr(point, f"{which}_p95") for point in points), default=0.0)
    drawn: list[str] = []
    for name in ("p95", "p50"):
        drawn += _line(series, name, [(point.at, getattr(point, f"{which}_{name}") or 0.0) for point in points], most)
    label = f"How long attempts {'waited' if which == 'wait' else 'ran'}: p50 and p95, at most {words.span(most)}"
    return _chart(label, drawn + _axis(series, words.span(most)))


def queued(found: Levels) -> Markup:
    """How many jobs were queued."""
    values = [(point.at, point.queued) for point in found.points if point.queued is not None]
    most = max((value for _, value in values), default=0.0)
    drawn = _line(found, "p50", values, most, _count)
    return _chart(f"How many jobs were queued, at most {_count(most)}", drawn + _axis(found, _count(most)))


def seats(found: Levels) -> Markup:
    """How many seats were busy, of those that were there."""
    there = [(point.at, point.seats) for point in found.points if point.seats is not None]
    busy = [(point.at, point.busy) for point in found.points if point.busy is not None]
    most = max((value for _, value in [*there, *busy]), default=0.0)
    drawn = _line(found, "p95", there, most, _count) + _line(found, "p50", busy, most, _count)
    return _chart(
        f"Seats that were there and that were busy, at most {_count(most)}", drawn + _axis(found, _count(most))
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _line(
    series: Series | Levels,
    name: str,
    values: Sequence[tuple[datetime, float]],
    most: float,
    told: Callable[[float], str] = words.span,
) -> list[str]:
    places = [(_x(series, at), _HIGH - (_HIGH - 8) * value / most if most else _HIGH) for at, value in values]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = [f'<polyline class="line {name}" points="{path}"/>']
    for (at, value), (x, y) in zip(values, places, strict=True):
        what = f"{name} " if told is words.span else ""
        title = f"<title>{escape(f'{words.exact(at)[:16]}: {what}{told(value)}')}</title>"
        drawn.append(f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="2">{title}</circle>')
    return drawn


def bars(counts: Mapping[str, int], total: int | None = None, wide: float = 180.0) -> Markup:
    """A row's share by state, in one bar."""
    whole = total or sum(counts.values())
    drawn, x = [], 0.0
    for state, count in counts.items():
        part = wide * count / whole if whole else 0.0
        if count:
            drawn.append(_rect(x, 0, part, 10, f"s-{state}", f"{count:,} {words.said(state)}"))
        x += part
    told = ", ".join(f"{count:,} {words.said(state)}" for state, count in counts.items() if count) or "nothing yet"
    return Markup(
        f'<svg class="bar" viewBox="0 0 {wide:.0f} 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(told)}">{"".join(drawn)}</svg>'
    )


def _steps(series: Series) -> list[tuple[datetime, Mapping[str, int]]]:
    by_time: dict[datetime, dict[str, int]] = {}
    at = series.since
    while at <= series.now:
        by_time[at] = {}
        at += timedelta(seconds=series.step)
    for point in series.points:
        cell = by_time.setdefault(point.at, {})
        for state, count in point.ended.items():
            cell[state] = cell.get(state, 0) + count
    return sorted(by_time.items())


def _x(series: Series | Levels, at: datetime) -> float:
    whole = (series.now - series.since).total_seconds() or 1.0
    return _WIDE * ((at - series.since).total_seconds() + series.step / 2) / (whole + series.step)


def _unit(series: Series) -> str:
    return {60.0: "a minute", 3600.0: "an hour"}.get(series.step, "a day")


def _axis(series: Series | Levels, top: str) -> list[str]:
    middle = series.since + (series.now - series.since) / 2
    marks = [(0.0, "start", series.since), (_WIDE / 2, "middle", middle), (_WIDE, "end", series.now)]
    form = "%H:%M" if series.now - series.since <= timedelta(days=1) else "%d %b"
    drawn = [f'<text class="axis" x="0" y="10">{escape(top)}</text>']
    for x, anchor, at in marks:
        text = at.astimezone(UTC).strftime(form)
        drawn.append(f'<text class="axis" x="{x:.0f}" y="{_HIGH + _FOOT - 3:.0f}" text-anchor="{anchor}">{text}</text>')
    return drawn


def _rect(x: float, y: float, wide: float, high: float, name: str, title: str) -> str:
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _chart(label: str, drawn: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDE:.0f} {_HIGH + _FOOT:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(drawn)}</svg>"
    )
