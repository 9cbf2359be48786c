"""Lanes as an operator sees them: what waits in each, since when, what runs under which cap, and who serves it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select

from jobwarden.domain.states import LIVE_WORKER, JobState
from jobwarden.store.database import Transaction, age
from jobwarden.store.ledger import words
from jobwarden.store.schema import jobs
from jobwarden.views.fleet import WorkerLine, listed_workers
from jobwarden.views.overview import LaneLine, listed_lanes

_MOST_PRIORITIES, _HIGHEST = 20, (1 << 15) - 1


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane. ``oldest`` is for how many seconds the first in line of any priority has been due, ``workers`` how many
    live workers serve it; the lane ``*`` stands for all."""

    name: str
    states: dict[str, int]
    paused: bool
    paused_by: str | None
    paused_reason: str | None
    paused_at: datetime | None
    max_running: int | None
    oldest: float | None
    workers: int


def listed(transaction: Transaction) -> list[LaneView]:
    """Every lane that has or had jobs, that a worker serves, or of which somebody said something."""
    served = _served(listed_workers(transaction, role="supervisor"))
    known = {lane.name: lane for lane in listed_lanes(transaction)}
    return [
        _view(transaction, known.get(name) or LaneLine(name, {}), served.get(name, 0))
        for name in sorted({*known, *served})
    ]


def _view(transaction: Transaction, lane: LaneLine, workers: int) -> LaneView:
    """A lane with what waits in it."""
    waits = lane.states.get(JobState.QUEUED.value)
    told = {name: getattr(lane, name) for name in LaneLine.__slots__}
    return LaneView(**told, oldest=oldest(transaction, lane.name) if waits else None, workers=workers)


def _served(workers: Iterable[WorkerLine]) -> dict[str, int]:
    served: dict[str, int] = {}
    for worker in workers:
        for lane in (worker.meta or {}).get("lanes", []) if worker.state in LIVE_WORKER else ():
            served[lane] = served.get(lane, 0) + 1
    return served


_waiting = (jobs.c.lane == bindparam("lane"), jobs.c.state == words(JobState.QUEUED))
_first: Any = (
    select(jobs.c.priority, age(func.coalesce(jobs.c.queued_at, jobs.c.created_at)).label("waited"))
    .where(*_waiting, jobs.c.priority <= bindparam("most"))
    .order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
    .limit(1)
)
_lowest = (
    select(jobs.c.priority)
    .where(*_waiting)
    .order_by(jobs.c.priority, jobs.c.created_at.desc(), jobs.c.id.desc())
    .limit(1)
)


def oldest(transaction: Transaction, lane: str) -> float | None:
    """For how many seconds the first in line has been due, of the priority whose first has been so the longest.

    One look into the claim index for each priority, the twenty highest at most. Where there is but one, as usual, none
    is looked for below it: a partial index may have to be walked for that.
    """
    lowest = transaction.execute(_lowest, lane=lane).scalar_one_or_none()
    if lowest is None:
        return None
    most = _HIGHEST
    waits: list[float] = []
    while most >= lowest and len(waits) < _MOST_PRIORITIES:
        row = transaction.execute(_first, lane=lane, most=most).one_or_none()
        if row is None:
            break
        most = row.priority - 1
        waits.append(max(0.0, float(row.waited)))
    return max(waits, default=None)
