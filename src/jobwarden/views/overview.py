"""The whole at a glance: jobs by lane and state from the kept counters, never by counting jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from jobwarden.domain.states import JobState
from jobwarden.store import counters
from jobwarden.store.database import Transaction
from jobwarden.store.schema import lanes
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


def listed_lanes(transaction: Transaction) -> list[LaneLine]:
    """Every lane that has or had jobs, or of which somebody said something, by name."""
    totals = counters.totals(transaction)
    known = {row.name: row for row in transaction.execute(_lanes)}
    return [
        build(LaneLine, known[name], states=totals.get(name, {})) if name in known else LaneLine(name, totals[name])
        for name in sorted({*totals, *known})
    ]
