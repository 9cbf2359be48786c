"""The whole at a glance: jobs by lane and state from the kept counters, never by counting jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from jobwarden.domain.states import JobState
from jobwarden.store import counters
from jobwarden.store.database import Transaction
from jobwarden.store.schema import batches, lanes, schedules
from jobwarden.views.fleet import Flight, WorkerLine, in_flight, listed_workers
from jobwarden.views.jobs import Filter, JobLine, listed
from jobwarden.views.rows import build, columns

_NEED_ATTENTION = (JobState.FAILED, JobState.ORPHANED)


@dataclass(frozen=True, slots=True)
class LaneLine:
    """A lane: its jobs by state (states without jobs are left out), whether it is paused, by whom and why, and how many
    may run at once (None: as many as find a seat). The one called ``*`` is what was said of all."""

    name: str
    states: dict[str, int]
    paused: bool = False
    paused_by: str | None = None
    paused_reason: str | None = None
    paused_at: datetime | None = None
    max_running: int | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """What goes on; ``attention`` are the newest jobs that failed or are parked."""

    lanes: list[LaneLine]
    states: dict[str, int]
    workers: list[WorkerLine]
    running: list[Flight]
    attention: list[JobLine]
    now: datetime


_lanes = select(*columns(lanes, LaneLine))


def overview(transaction: Transaction, most: int = 10) -> Overview:
    """The state of everything, with at most ``most`` running attempts and jobs that need attention."""
    found = listed_lanes(transaction)
    total: Counter[str] = Counter()
    for lane in found:
        total.update(lane.states)
    return Overview(
        lanes=found,
        states=dict(total),
        workers=listed_workers(transaction),
        running=in_flight(transaction, most),
        attention=listed(transaction, Filter(states=_NEED_ATTENTION, limit=most)).jobs,
        now=transaction.now(),
    )


_schedules = select(schedules.c.enabled, func.count().label("number")).group_by(schedules.c.enabled)
_batches = select(batches.c.state, func.count().label("number")).group_by(batches.c.state)


def counts(transaction: Transaction) -> dict[str, dict[str, Any]]:
    """How many there are of everything; jobs from the kept counters."""
    by_lane = counters.totals(transaction)
    by_state: Counter[str] = Counter()
    for states in by_lane.values():
        by_state.update(states)
    enabled = {bool(row.enabled): int(row.number) for row in transaction.execute(_schedules)}
    return {
        "jobs": dict(by_state),
        "jobs_by_lane": by_lane,
        "batches": {row.state: int(row.number) for row in transaction.execute(_batches)},
        "schedules": {"enabled": enabled.get(True, 0), "total": sum(enabled.values())},
        "workers": dict(Counter(worker.role for worker in listed_workers(transaction))),
    }


def listed_lanes(transaction: Transaction) -> list[LaneLine]:
    """Every lane that has or had jobs, or of which somebody said something, by name."""
    totals = counters.totals(transaction)
    known = {row.name: row for row in transaction.execute(_lanes)}
    return [
        build(LaneLine, known[name], states=totals.get(name, {})) if name in known else LaneLine(name, totals[name])
        for name in sorted({*totals, *known})
    ]
