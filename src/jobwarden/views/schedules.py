"""Schedules as an operator sees them: each with when it is due next and how its last run went, and its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select

from jobwarden.errors import ScheduleNotFound
from jobwarden.store.database import Id, Transaction
from jobwarden.store.schema import jobs, schedule_runs, schedules
from jobwarden.views.rows import build, columns


@dataclass(frozen=True, slots=True)
class RunLine:
    """One record of a run: of an occurrence, or (``number`` above 1) of many alike that did not run, up to
    ``last_time``. ``state`` is its job's, None without one or where it was pruned."""

    id: str
    occurrence_time: datetime
    detected_at: datetime
    action: str
    reason: str | None
    cause: str
    actor: str | None
    number: int
    last_time: datetime | None
    job_id: str | None
    state: str | None


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """One schedule. ``when`` is what was written: a pattern, an interval or an instant; ``source`` who says how it is;
    ``last`` its newest run."""

    id: str
    name: str
    job: str
    kind: str
    when: str
    timezone: str
    enabled: bool
    lane: str
    missed_policy: str
    overlap_policy: str
    catch_up_window_sec: float | None
    max_catch_up: int | None
    jitter_sec: float | None
    starts_at: datetime | None
    ends_at: datetime | None
    excluded: list[str] | None
    params: Any
    tags: dict[str, str] | None
    source: str
    owner: str | None
    last_error: str | None
    next_due_at: datetime | None
    last_evaluated_at: datetime | None
    last: RunLine | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of schedules, and the name to go on after (None: this is the last)."""

    schedules: list[ScheduleLine]
    next: str | None


_line = select(
    *columns(schedules, ScheduleLine), schedules.c.cron_expression, schedules.c.every_sec, schedules.c.run_at
)
_runs = (
    select(*columns(schedule_runs, RunLine), schedule_runs.c.schedule_id, jobs.c.state)
    .select_from(schedule_runs.outerjoin(jobs, jobs.c.id == schedule_runs.c.job_id))
    .where(schedule_runs.c.schedule_id == bindparam("schedule", type_=Id))
    .order_by(schedule_runs.c.occurrence_time.desc())
    .limit(bindparam("most"))
)
_its_runs = schedule_runs.alias("its_runs")
_newest = (
    select(func.max(_its_runs.c.occurrence_time))
    .where(_its_runs.c.schedule_id == schedules.c.id)
    .correlate(schedules)
    .scalar_subquery()
)
_lasts = select(*columns(schedule_runs, RunLine), schedule_runs.c.schedule_id, jobs.c.state).select_from(
    schedules.join(
        schedule_runs,
        (schedule_runs.c.schedule_id == schedules.c.id) & (schedule_runs.c.occurrence_time == _newest),
    ).outerjoin(jobs, jobs.c.id == schedule_runs.c.job_id)
)


def listed(transaction: Transaction) -> list[ScheduleLine]:
    """Every schedule, by name."""
    lasts = {row.schedule_id: build(RunLine, row) for row in transaction.execute(_lasts)}
    found = transaction.execute(_line.order_by(schedules.c.name)).all()
    return [_shown(row, lasts.get(row.id)) for row in found]


def page(transaction: Transaction, enabled: bool | None, after: str | None, limit: int) -> Page:
    """At most ``limit`` schedules, by name, after the name ``after``; ``enabled``: only those that are, or are not."""
    query = _line.order_by(schedules.c.name).limit(limit + 1)
    if enabled is not None:
        query = query.where(schedules.c.enabled.is_(enabled))
    if after is not None:
        query = query.where(schedules.c.name > after)
    found = transaction.execute(query).all()
    lines = [_shown(row, next(iter(runs_of(transaction, row.id, 1)), None)) for row in found[:limit]]
    return Page(lines, lines[-1].name if len(found) > limit else None)


def shown(transaction: Transaction, name: str) -> ScheduleLine:
    """One schedule; raises `ScheduleNotFound`."""
    row = transaction.execute(_line.where(schedules.c.name == name)).one_or_none()
    if row is None:
        raise ScheduleNotFound(name=name)
    return _shown(row, next(iter(runs_of(transaction, row.id, 1)), None))


def runs_of(transaction: Transaction, schedule_id: str, limit: int) -> list[RunLine]:
    """The newest runs of a schedule."""
    return [build(RunLine, row) for row in transaction.execute(_runs, schedule=schedule_id, most=limit)]


def _shown(row: Any, last: RunLine | None) -> ScheduleLine:
    return build(ScheduleLine, row, when=_when(row), enabled=bool(row.enabled), last=last)


def _when(row: Any) -> str:
    if row.run_at is not None:
        return f"once at {row.run_at.isoformat()}"
    return f"every {row.every_sec:g} s" if row.every_sec is not None else str(row.cron_expression)
