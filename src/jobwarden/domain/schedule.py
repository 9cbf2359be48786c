"""A schedule as it is defined: what runs, when, and by which policies. A value, without a row and without a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from jobwarden.domain.occurrences import Missed, Overlap, Rules
from jobwarden.domain.timing import Timing


class Source(StrEnum):
    """Who says how a schedule is: the application's code, or somebody at run time."""

    CODE = "code"
    RUNTIME = "runtime"


class Cause(StrEnum):
    """Why there is a run: its moment came, or a person asked."""

    DUE = "due"
    MANUAL = "manual"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True)
class Definition:
    """Everything that a person says of a schedule. ``params`` is JSON text; ``options`` are further columns of the jobs
    to be, as enqueueing takes them; ``enabled`` counts when it is made only."""

    name: str
    job: str
    params: str
    timing: Timing
    rules: Rules = Rules()
    lane: str = "scheduled"
    priority: int = 0
    idempotent: bool = False
    max_attempts: int = 4
    options: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True


def definition_of(row: Any) -> Definition:
    """The definition that a row says; raises ValueError for a policy that is none."""
    return Definition(
        name=row.name,
        job=row.job,
        params=row.params or "{}",
        timing=timing_of(row),
        rules=rules_of(row),
        lane=row.lane,
        priority=row.priority,
        idempotent=bool(row.idempotent),
        max_attempts=row.max_attempts,
        options=row.options or {},
        tags=row.tags or {},
        enabled=bool(row.enabled),
    )


def timing_of(row: Any) -> Timing:
    """The timing that a row says."""
    return Timing(
        cron=row.cron_expression,
        every=_span(row.every_sec),
        run_at=row.run_at,
        zone=row.timezone,
        jitter=_span(row.jitter_sec) or timedelta(),
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        excluded=frozenset(date.fromisoformat(text) for text in row.excluded or ()),
    )


def rules_of(row: Any) -> Rules:
    """The policies that a row says; raises ValueError for one that is none."""
    return Rules(
        missed=Missed(row.missed_policy),
        overlap=Overlap(row.overlap_policy),
        window=_span(row.catch_up_window_sec),
        most=row.max_catch_up,
        parked_counts=bool(row.parked_counts),
    )


def timing_columns(timing: Timing) -> dict[str, Any]:
    """The timing as columns; excluded dates as texts, since that is what JSON has."""
    return {
        "kind": timing.kind.value,
        "cron_expression": timing.cron,
        "every_sec": timing.every.total_seconds() if timing.every else None,
        "run_at": timing.run_at,
        "timezone": timing.zone,
        "jitter_sec": timing.jitter.total_seconds() or None,
        "starts_at": timing.starts_at,
        "ends_at": timing.ends_at,
        "excluded": sorted(day.isoformat() for day in timing.excluded) or None,
    }


def rules_columns(rules: Rules) -> dict[str, Any]:
    """The policies as columns."""
    return {
        "missed_policy": rules.missed.value,
        "overlap_policy": rules.overlap.value,
        "catch_up_window_sec": rules.window.total_seconds() if rules.window is not None else None,
        "max_catch_up": rules.most,
        "parked_counts": rules.parked_counts,
    }


def due_at(timing: Timing, name: str, after: datetime) -> datetime | None:
    """When the schedule of that name is due for the first time after it was decided up to ``after``."""
    following = timing.next(after)
    return None if following is None else following + timing.delay(name)


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
