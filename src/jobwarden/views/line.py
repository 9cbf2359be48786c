"""A due job's place in the line of its lane: what keeps the lane from going on, who goes first, when its turn comes.

Counts are bounded looks into the claim index, rates come from the history: a line of a million costs no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, bindparam, func, literal_column, or_, select

from jobwarden.domain.history import Kind, Span
from jobwarden.domain.states import IN_FLIGHT, JobState
from jobwarden.store import lanes as store
from jobwarden.store.database import Id, Transaction, after
from jobwarden.store.ledger import words
from jobwarden.store.schema import attempts, history, jobs, lanes
from jobwarden.views.jobs import JobView
from jobwarden.views.reason import Reason
from jobwarden.views.rows import in_states

_FAR = 10_000
_HOLDERS = 5
_LOOK_BACK = timedelta(minutes=10)

_said = (
    select(lanes)
    .where(lanes.c.name.in_([bindparam("lane"), store.EVERY]), or_(lanes.c.paused, lanes.c.max_running.is_not(None)))
    .order_by(lanes.c.name.desc())
)


def barriers(transaction: Transaction, job: JobView) -> list[Reason]:
    """What was said of the job's lane, or of all lanes, that keeps it from starting now."""
    found = transaction.execute(_said, lane=job.lane).all()
    reasons = [_pause(row) for row in found if row.paused]
    capped = [row for row in found if row.max_running is not None]
    busy = store.running(transaction) if capped else {}
    for row in capped:
        runs = sum(busy.values()) if row.name == store.EVERY else busy.get(row.name, 0)
        if runs >= row.max_running:
            reasons.append(_cap(row, runs, _holders(transaction, row.name)))
    return reasons


def _named(name: str) -> str:
    return "Every lane" if name == store.EVERY else f"Lane {name!r}"


def _pause(row: Any) -> Reason:
    by = f" by {row.paused_by}" if row.paused_by else ""
    why = f": {row.paused_reason}" if row.paused_reason else ""
    facts = {"lane": row.name, "by": row.paused_by, "reason": row.paused_reason}
    return Reason("lane_paused", f"{_named(row.name)} is paused{by}{why}.", facts)


def _cap(row: Any, runs: int, holders: list[str]) -> Reason:
    where = "all lanes together" if row.name == store.EVERY else f"lane {row.name!r}"
    held = f", among them {', '.join(holders)}" if holders else ""
    words = f"The cap of {where} is reached: {runs} of {row.max_running} run{held}."
    return Reason("cap_reached", words, {"lane": row.name, "running": runs, "cap": row.max_running, "by": holders})


_running = (
    select(jobs.c.id)
    .select_from(attempts.join(jobs, jobs.c.id == attempts.c.job_id))
    .where(in_states(attempts.c.state, IN_FLIGHT))
    .order_by(attempts.c.id)
    .limit(_HOLDERS)
)


def _holders(transaction: Transaction, lane: str) -> list[str]:
    query = _running if lane == store.EVERY else _running.where(jobs.c.lane == lane)
    return [row.id for row in transaction.execute(query)]


# -- its turn ---------------------------------------------------------------------------------------------------------

_mine = select(jobs.c.priority, jobs.c.created_at).where(jobs.c.id == bindparam("job", type_=Id)).subquery("mine")
_first = or_(
    jobs.c.priority > _mine.c.priority,
    and_(
        jobs.c.priority == _mine.c.priority,
        or_(
            jobs.c.created_at < _mine.c.created_at,
            and_(jobs.c.created_at == _mine.c.created_at, jobs.c.id < bindparam("job", type_=Id)),
        ),
    ),
)
_ahead = select(func.count()).select_from(
    select(literal_column("1"))
    .select_from(jobs.join(_mine, literal_column("1") == literal_column("1")))
    .where(jobs.c.lane == bindparam("lane"), jobs.c.state == words(JobState.QUEUED), _first)
    .limit(_FAR + 1)
    .subquery("ahead")
)
_starts = select(func.sum(history.c.number)).where(
    history.c.span.in_([Span.MOMENT.value, Span.MINUTE.value]),
    history.c.at >= after(literal_column(str(-_LOOK_BACK.total_seconds()))),
    history.c.kind == Kind.WAIT.value,
    history.c.lane == bindparam("lane"),
)


def turn(transaction: Transaction, job: JobView) -> Iterator[Reason]:
    """How many go first, and when its turn comes if the lane goes on as it did in the last minutes."""
    ahead = int(transaction.execute(_ahead, job=job.id, lane=job.lane).scalar_one())
    shown = f"more than {_FAR:,}" if ahead > _FAR else f"{ahead:,}"
    facts = {"lane": job.lane, "ahead": min(ahead, _FAR), "more": ahead > _FAR}
    yield Reason("in_line", f"{shown} queued jobs of lane {job.lane!r} go before it, by priority and age.", facts)
    starts = int(transaction.execute(_starts, lane=job.lane).scalar() or 0)
    rate = starts / _LOOK_BACK.total_seconds()
    minutes = _LOOK_BACK.total_seconds() / 60
    if not starts:
        yield Reason("no_rate", f"When it starts cannot be told: none of the lane began in the last {minutes:.0f} min.")
        return
    seconds = (ahead + 1) / rate
    least = "more than " if ahead > _FAR else ""
    words = f"It starts in {least}about {_spoken(seconds)}, at the rate of the last {minutes:.0f} min."
    yield Reason("estimate", words, {"seconds": round(seconds, 1), "rate": round(rate, 3)})


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
