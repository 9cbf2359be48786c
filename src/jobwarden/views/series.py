"""The history as charts and totals need it: sums over kept rows, never over attempts.

A time of day is a row's beginning; quantiles are read from added histograms (`domain.history`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from jobwarden.domain.history import OF_ATTEMPTS, Kind, Span, beginning, quantile
from jobwarden.errors import InvalidOption
from jobwarden.store.database import Transaction
from jobwarden.store.schema import history

_MOST = timedelta(days=90)
_STEPS = ((timedelta(hours=3), Span.MINUTE), (timedelta(days=7), Span.HOUR), (_MOST, Span.DAY))
_FINER = (Span.MOMENT, Span.MINUTE, Span.HOUR, Span.DAY)
_BY = {"lane": history.c.lane, "job": history.c.job}


@dataclass(frozen=True, slots=True)
class Point:
    """A lane's or a job's minute, hour or day.

    ``started`` are attempts that began, ``ended`` those that ended by their state; waits and runs are in seconds, the
    time that half of them and 95 % of them stayed below; None where nothing was counted.
    """

    at: datetime
    name: str
    started: int
    ended: dict[str, int]
    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None


@dataclass(frozen=True, slots=True)
class Series:
    """Points in the order of time and name; ``step`` is how much time each stands for, in seconds."""

    points: list[Point]
    step: float
    since: datetime
    now: datetime


@dataclass(slots=True)
class Total:
    """All that was ever counted under one name: ``counts`` by bucket, ``seconds`` in all."""

    kind: str
    lane: str
    job: str
    outcome: str
    cause: str
    actor: str
    counts: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def number(self) -> int:
        """How many."""
        return sum(self.counts.values())


@dataclass(slots=True)
class _Cell:
    started: int = 0
    ended: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    waits: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    runs: dict[int, int] = field(default_factory=lambda: defaultdict(int))


def series(
    transaction: Transaction,
    back: timedelta,
    by: str | None = None,
    *,
    lane: str | None = None,
    job: str | None = None,
) -> Series:
    """The last so much time by minutes (up to three hours), hours (up to a week) or days (up to 90).

    ``by`` is "lane", "job" or None for all together; ``lane`` and ``job`` narrow it down. Raises `InvalidOption`.
    """
    if by is not None and by not in _BY:
        raise InvalidOption(option="by", value=by, job="series", rule="one of lane and job, or nothing")
    now, span, since = _window(transaction, back)
    cells: dict[tuple[datetime, str], _Cell] = defaultdict(_Cell)
    for row in transaction.execute(_query(_BY.get(by or ""), span, since, lane, job)):
        _add(cells[beginning(span, row.at), getattr(row, "name", "")], row)
    points = [_point(at, name, cell) for (at, name), cell in sorted(cells.items())]
    return Series(points, _SECONDS[span], since, now)


def _window(transaction: Transaction, back: timedelta) -> tuple[datetime, Span, datetime]:
    if not timedelta() < back <= _MOST:
        raise InvalidOption(option="back", value=back, job="series", rule="more than nothing, and at most 90 days")
    now = transaction.now()
    span = next(step for most, step in _STEPS if back <= most)
    return now, span, beginning(span, now - back)


@dataclass(frozen=True, slots=True)
class Level:
    """What was there in a minute, hour or day, on average: jobs ``queued`` in all lanes or in one, ``seats``, and how
    many of them were ``busy``; None where nobody looked."""

    at: datetime
    queued: float | None
    seats: float | None
    busy: float | None


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels in the order of time; ``step`` is how much time each stands for, in seconds."""

    points: list[Level]
    step: float
    since: datetime
    now: datetime


def levels(transaction: Transaction, back: timedelta, lane: str | None = None) -> Levels:
    """What was there over the last so much time, in the steps of `series`. Raises `InvalidOption`."""
    now, span, since = _window(transaction, back)
    sums: dict[datetime, dict[tuple[str, str, str], list[float]]] = defaultdict(dict)
    for row in transaction.execute(_looks(span, since, lane)):
        total = sums[beginning(span, row.at)].setdefault((row.kind, row.lane, row.outcome), [0.0, 0.0])
        total[0] += float(row.seconds)
        total[1] += int(row.number)
    points = [
        _level(at, {key: seconds / number for key, (seconds, number) in cell.items()})
        for at, cell in sorted(sums.items())
    ]
    return Levels(points, _SECONDS[span], since, now)


def _looks(span: Span, since: datetime, lane: str | None) -> Select[*tuple[Any, ...]]:
    keys = (_kept.at, _kept.kind, _kept.lane, _kept.outcome)
    finer = [each.value for each in _FINER[: _FINER.index(span) + 1]]
    query = select(*keys, func.sum(_kept.seconds).label("seconds"), func.sum(_kept.number).label("number")).where(
        _kept.span.in_(finer), _kept.at >= since, _kept.kind.in_((Kind.DEPTH, Kind.SEATS))
    )
    if lane is not None:
        query = query.where(or_(_kept.kind == Kind.SEATS, _kept.lane == lane))
    return query.group_by(*keys)


def _level(at: datetime, found: Mapping[tuple[str, str, str], float]) -> Level:
    depths = [value for (kind, _, _), value in found.items() if kind == Kind.DEPTH]
    there, busy = (found.get((Kind.SEATS, "", name)) for name in ("there", "busy"))
    return Level(at, sum(depths) if depths or there is not None else None, there, busy)


_SECONDS = {Span.MINUTE: 60.0, Span.HOUR: 3600.0, Span.DAY: 86400.0}
_kept = history.c


def _query(
    name: ColumnElement[Any] | None, span: Span, since: datetime, lane: str | None, job: str | None
) -> Select[*tuple[Any, ...]]:
    finer = _FINER[: _FINER.index(span) + 1]
    shown: list[Any] = [
        _kept.at,
        _kept.kind,
        _kept.outcome,
        _kept.bucket,
        *([] if name is None else [name.label("name")]),
    ]
    query = select(*shown, func.sum(_kept.number).label("number")).where(
        _kept.span.in_([each.value for each in finer]), _kept.at >= since, _kept.kind.in_(OF_ATTEMPTS)
    )
    for column, value in ((_kept.lane, lane), (_kept.job, job)):
        if value is not None:
            query = query.where(column == value)
    return query.group_by(*shown)


def _add(cell: _Cell, row: Any) -> None:
    number = int(row.number)
    if row.kind == Kind.WAIT:
        cell.started += number
        cell.waits[row.bucket] += number
    else:
        cell.ended[row.outcome] += number
        cell.runs[row.bucket] += number


def _point(at: datetime, name: str, cell: _Cell) -> Point:
    waits, runs = ((quantile(counts, 0.5), quantile(counts, 0.95)) for counts in (cell.waits, cell.runs))
    return Point(at, name, cell.started, dict(sorted(cell.ended.items())), *waits, *runs)


_KEY = (_kept.kind, _kept.lane, _kept.job, _kept.outcome, _kept.cause, _kept.actor)
_totals = select(
    *_KEY, _kept.bucket, func.sum(_kept.number).label("number"), func.sum(_kept.seconds).label("seconds")
).group_by(*_KEY, _kept.bucket)


def totals(transaction: Transaction) -> list[Total]:
    """All that was ever counted; sums that never go down."""
    return _gathered(transaction.execute(_totals))


def _gathered(found: Iterable[Any]) -> list[Total]:
    gathered: dict[tuple[str, ...], Total] = {}
    for row in found:
        key = (row.kind, row.lane, row.job, row.outcome, row.cause, row.actor)
        total = gathered.setdefault(key, Total(*key))
        total.counts[row.bucket] = int(row.number)
        total.seconds += float(row.seconds)
    return [gathered[key] for key in sorted(gathered)]
